//! One question to one server: any that speaks the chat-completions protocol.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use ureq::Agent;
use ureq::http::HeaderMap;

use super::Settings;
use super::journal::ModelAnswer;
use crate::error::shorten;
use crate::{Error, Result};

/// The longest answer that is read; an honest one has some kilobytes.
const MOST_BYTES: u64 = 4 << 20;

/// Characters of a server's message that are shown.
const SHOWN: usize = 300;

/// A secret that can be sent and taken out of texts, and neither printed nor stored.
pub struct Key(String);

impl Key {
    /// A key as a header carries it, blanks around it dropped.
    ///
    /// # Errors
    /// [`Error::Usage`], without the key, if it is empty or no header can carry it.
    pub fn new(key: &str) -> Result<Key> {
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::usage("the key is empty or has characters that no header carries"));
        }
        Ok(Key(key.to_string()))
    }

    /// `text` without the key, should a server have echoed it.
    fn hide(&self, text: String) -> String {
        match text.contains(&self.0) {
            true => text.replace(&self.0, "[key]"),
            false => text,
        }
    }
}

/// Why there is no answer.
pub(super) enum Failure {
    /// No answer came: the server is busy, broken or out of reach. Asking again may help, no sooner
    /// than `after`.
    Passing { why: String, after: Option<Duration> },
    /// An answer came that is none. Asking again may help.
    Unusable(String),
    /// The server won't have it, whatever is asked.
    Final(String),
}

/// Where questions go.
pub(super) struct Endpoint<'a> {
    agent: Agent,
    url: String,
    key: Option<&'a Key>,
}

impl<'a> Endpoint<'a> {
    /// The chat completions under `base_url`, `http://localhost:11434/v1` say; no request may take
    /// longer than `timeout`, connecting and every byte of the answer included.
    ///
    /// # Errors
    /// [`Error::Usage`] if the URL isn't one of http or https, or holds a password.
    pub fn new(base_url: &str, key: Option<&'a Key>, timeout: Duration) -> Result<Self> {
        let wrong = || {
            let shown = shorten(base_url, 80);
            Error::usage(format!("--base-url is like https://HOST/v1, not {shown}"))
        };
        let url = format!("{}/chat/completions", base_url.trim_end_matches('/'));
        if url.contains('@') {
            return Err(Error::usage("--base-url may hold no name or password: use --key-env"));
        }
        let uri: ureq::http::Uri = url.parse().map_err(|_| wrong())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !known || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(wrong());
        }
        let mut config = Agent::config_builder()
            .timeout_global(Some(timeout))
            // What a redirect leads to isn't what the user named, and the key isn't meant for it.
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("flipside/", env!("CARGO_PKG_VERSION")));
        if uri.host().is_some_and(is_here) {
            config = config.proxy(None); // what HTTP_PROXY names knows another localhost
        }
        Ok(Endpoint { agent: config.build().into(), url, key })
    }

    /// Where it asks.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks once.
    pub fn ask(
        &self,
        settings: &Settings,
        question: &str,
    ) -> std::result::Result<ModelAnswer, Failure> {
        let body = settings.request(question).to_string();
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = self.key {
            request = request.header("authorization", format!("Bearer {}", key.0));
        }
        let mut response = request.send(body).map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        let after = retry_after(response.headers(), SystemTime::now());
        let text =
            response.body_mut().with_config().limit(MOST_BYTES).lossy_utf8(true).read_to_string();
        let text = match (text, status) {
            (Ok(text), _) => text,
            (Err(error), 200..300) => return Err(self.unreachable(&error)),
            // The status says enough.
            (Err(_), _) => String::new(),
        };
        let text = self.key.iter().fold(text, |text, key| key.hide(text));
        match status {
            200..300 => answer(&text).map_err(Failure::Unusable),
            408 | 425 | 429 | 500..600 => {
                Err(Failure::Passing { why: refusal(status, &text), after })
            }
            300..400 => {
                let detail = "it sends elsewhere (a redirect), which isn't followed";
                Err(Failure::Final(format!("{}: status {status}: {detail}", self.url)))
            }
            _ => Err(Failure::Final(format!("{}: {}", self.url, refusal(status, &text)))),
        }
    }

    /// A request that got no answer, or half of one.
    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let why = match error {
            ureq::Error::Timeout(_) => "timed out".to_string(),
            other => shorten(&other.to_string(), SHOWN),
        };
        match error {
            // A certificate that is refused, a URL or a proxy that makes no sense: not chance.
            ureq::Error::Rustls(_)
            | ureq::Error::Tls(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::InvalidProxyUrl
            | ureq::Error::Http(_) => Failure::Final(format!("{}: {why}", self.url)),
            _ => Failure::Passing { why, after: None },
        }
    }
}

/// Whether a host, as a URL has it, is this machine.
fn is_here(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The answer in a completion.
fn answer(body: &str) -> std::result::Result<ModelAnswer, String> {
    let value: Value = serde_json::from_str(body).map_err(|error| {
        format!("the answer isn't JSON: {}", shorten(&error.to_string(), SHOWN))
    })?;
    let Some(choice) = value.pointer("/choices/0") else {
        let said = message(&value).unwrap_or_else(|| "no choices in it".into());
        return Err(format!("the answer isn't a completion: {}", shorten(&said, SHOWN)));
    };
    let text =
        choice.pointer("/message/content").and_then(Value::as_str).unwrap_or_default().trim();
    let finish = choice.get("finish_reason").and_then(Value::as_str).map(str::to_string);
    if text.is_empty() {
        let finish = finish.map(|why| format!(" (finish_reason {})", shorten(&why, 40)));
        return Err(format!("the answer is empty{}", finish.unwrap_or_default()));
    }
    Ok(ModelAnswer { text: text.to_string(), finish })
}

/// What a server said beside a status that isn't success.
fn refusal(status: u16, body: &str) -> String {
    let said = serde_json::from_str(body).ok().and_then(|value| message(&value));
    let said = shorten(said.as_deref().unwrap_or(body).trim(), SHOWN);
    match said.is_empty() {
        true => format!("status {status}"),
        false => format!("status {status}: {said}"),
    }
}

/// The sentence in an error: `{"error": {"message": …}}`, `{"error": …}` or `{"message": …}`.
fn message(value: &Value) -> Option<String> {
    let places = ["/error/message", "/error", "/message", "/detail"];
    places.iter().find_map(|place| value.pointer(place)?.as_str()).map(str::to_string)
}

/// How long the server asks to wait: seconds, or until a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let ask = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            // 1994-11-06 08:49:37, of the example in RFC 9110.
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(ask("120"), Some(120));
        assert_eq!(ask("Sun, 06 Nov 1994 08:49:57 GMT"), Some(20));
        assert_eq!(ask("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(ask("soon"), None);
        assert_eq!(ask("-3"), None);
    }
}
