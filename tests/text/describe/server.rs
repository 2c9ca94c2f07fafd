//! A chat server on a local port that answers by a script and keeps a log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What a request was.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub authorization: Option<String>,
    pub body: Value,
    pub at: Instant,
}

impl Request {
    /// The last message: the question.
    pub fn question(&self) -> &str {
        let messages = self.body["messages"].as_array().unwrap();
        messages.last().unwrap()["content"].as_str().unwrap()
    }
}

/// What the server does about a request.
pub enum Reply {
    /// A completion with this text.
    Say(String),
    /// A status, further header lines, a body.
    Status(u16, &'static str, String),
    /// A success whose body comes a byte at a time, each after a pause, and never ends.
    Drip(Duration),
    /// Nothing, for as long as the client waits.
    Silence,
    /// Half of a completion, then the end of the connection.
    Half,
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;

pub struct Server {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server; `script` is told how many requests came before this one.
    pub fn new(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let script: Arc<Script> = Arc::new(script);
        let shared = (log.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.1.load(Ordering::SeqCst) {
                    return;
                }
                let (log, script) = (shared.0.clone(), script.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &log, &*script));
            }
        });
        Server { address, log, stop }
    }

    /// One that answers everything with the question's own words, after a pause.
    pub fn echo(pause: Duration) -> Server {
        Server::new(move |_, request| {
            std::thread::sleep(pause);
            Reply::Say(format!("Seen: {}", request.question()))
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn log(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// The questions in the order that they came in.
    pub fn asked(&self) -> Vec<String> {
        self.log().iter().map(|request| request.question().to_string()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the listener
    }
}

/// Requests of one connection, until the client or the script ends it.
fn serve(stream: TcpStream, log: &Mutex<Vec<Request>>, script: &Script) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    while let Some(request) = read(&mut reader) {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let done = match script(number, &request) {
            Reply::Say(text) => {
                let choice = json!({"message": {"content": text}, "finish_reason": "stop"});
                send(&mut out, 200, "", &json!({ "choices": [choice] }).to_string())
            }
            Reply::Status(status, headers, body) => send(&mut out, status, headers, &body),
            Reply::Drip(pause) => {
                let mut next = out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
                while next.is_ok() {
                    std::thread::sleep(pause);
                    next = out.write_all(b" ");
                }
                return;
            }
            Reply::Silence => {
                let _ = reader.read(&mut [0]); // returns when the client hangs up
                return;
            }
            Reply::Half => {
                let _ = out.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"choices\": [{\"message\"",
                );
                return;
            }
        };
        if done.is_err() {
            return;
        }
    }
}

fn send(out: &mut TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} Why\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    out.write_all(text.as_bytes())
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    let mut next = |reader: &mut BufReader<TcpStream>| {
        line.clear();
        reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
        Some(line.trim_end().to_string())
    };
    let first = next(reader)?;
    let (mut length, mut authorization) = (0, None);
    loop {
        let header = next(reader)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_string()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).ok()?;
    Some(Request { line: first, authorization, body, at: Instant::now() })
}
