"""TensorBoard's own files and readers (needs tensorboard).

Without an argument: writes tests/fixtures/tensorboard, events of fixed times by TensorBoard's own record writer.

With a folder that `flipside train` wrote: reads its event files by TensorBoard's loader, which checks every
checksum, and holds what its accumulator makes of them to the folder's metrics.jsonl.
"""

import json
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

FIXTURE = pathlib.Path(__file__).parent.parent / "fixtures/tensorboard/events.out.tfevents.fixture"
START = 1.7e9


def scalars(after, step, **values):
    values = [Summary.Value(tag=tag.replace("_", "/"), simple_value=value) for tag, value in values.items()]
    return Event(wall_time=START + after, step=step, summary=Summary(value=values))


def begin(after, step):
    return Event(wall_time=START + after, step=step, session_log=SessionLog(status=SessionLog.START))


def write():
    events = [
        Event(wall_time=START + 0.25, file_version="brain.Event:2"),
        begin(0.5, 0),
        scalars(1.125, 1, train_loss=2.3456789),
        scalars(2, 10, train_loss=0.0, train_top1=12.5, train_lr=1e-5),
        begin(3.75, 11),
        scalars(4, 3_000_000_000, validation_loss=float("nan")),
        scalars(5, 300, validation_top1=float("inf")),
    ]
    with open(FIXTURE, "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
        writer.flush()


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


# Which key of a line is which scalar.
STEP = {
    "train/loss": "loss",
    "train/top1": "top1_percent",
    "train/lr": "learning_rate",
    "train/gradient_norm": "gradient_norm",
    "train/images_per_second": "images_per_second",
}
EPOCH = {"validation/loss": "validation_loss", "validation/top1": "validation_top1_percent"}


def check(folder):
    files = sorted(folder.glob("events.out.tfevents.*"))
    events = [event for file in files for event in EventFileLoader(str(file)).Load()]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    compared = 0
    for kind, tags in ("step", STEP), ("epoch", EPOCH):
        for tag, key in tags.items():
            expected = [
                (line["step"], f32(line[key])) for line in lines if line["kind"] == kind and line.get(key) is not None
            ]
            # Old-style scalars are tensors to newer readers.
            found = read.Tensors(tag) if tag in read.Tags()["tensors"] else []
            found = [(event.step, event.tensor_proto.float_val[0]) for event in found]
            if not found:
                found = [(e.step, e.value) for e in read.Scalars(tag)] if tag in read.Tags()["scalars"] else []
            if found != expected:
                raise SystemExit(f"{tag}: TensorBoard reads {found}, metrics.jsonl has {expected}")
            compared += len(found)
    if not compared:
        raise SystemExit("nothing to compare")
    print(f"{len(files)} files, {len(events)} events, {compared} scalars as in metrics.jsonl")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        check(pathlib.Path(sys.argv[1]))
    else:
        FIXTURE.parent.mkdir(exist_ok=True)
        write()
