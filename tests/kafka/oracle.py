"""Checks the committed output of a crash round with Kafka (tests/src/crash/kafka.rs) against the definition of its pipeline.

Usage: oracle.py RECORDS KEYS WINDOW COUNTS WINDOWS
COUNTS and WINDOWS have a line of JSON for each committed record of a topic, in the order of its partition: partition, offset, key, value.

The input is record n = 0, 1, ... below RECORDS, with the key k{n % KEYS} and the time n in milliseconds. Each key must have its numbered
records in COUNTS once and in order, and the sum of the numbers of each window of WINDOW milliseconds in WINDOWS once.
"""

import json
import sys


def records(path):
    with open(path) as lines:
        for line in lines:
            record = json.loads(line)
            yield record["partition"], record["offset"], record["key"], json.loads(record["value"])


def fail(text):
    print(text)
    sys.exit(1)


def check_counts(path, total, keys):
    expected = {}
    partitions = {}
    offsets = {}
    for partition, offset, key, value in records(path):
        if offsets.get(partition, -1) >= offset:
            fail(f"partition {partition} of the counts is not in order at offset {offset}")
        offsets[partition] = offset
        if key != value["k"]:
            fail(f"the key is {key!r} and the value {value}")
        if partitions.setdefault(key, partition) != partition:
            fail(f"the key {key} is in the partitions {partitions[key]} and {partition}")
        count = expected.get(key, 0) + 1
        number = int(key[1:]) + (count - 1) * keys
        if value["count"] != count or value["n"] != number:
            kind = "again" if value["n"] < number else "too early, so that records are missing"
            fail(f"the record {value} of partition {partition}, offset {offset} comes {kind}: expected count {count}, n {number}")
        expected[key] = count
    found = sum(expected.values())
    if found != total:
        fail(f"{total - found} of {total} records are missing at the end")
    return found


def check_windows(path, total, keys, window):
    expected = {}
    for number in range(total):
        place = (f"k{number % keys}", number // window * window)
        expected[place] = expected.get(place, 0) + number
    found = 0
    last = {}
    for partition, offset, key, value in records(path):
        place = (value["k"], value["start"])
        if isinstance(value["start"], str):
            place = (value["k"], milliseconds(value["start"]))
        if place not in expected:
            fail(f"the window {value} of partition {partition}, offset {offset} comes again, or never existed")
        if expected.pop(place) != value["sum"]:
            fail(f"the window {value} has another sum")
        if last.get(place[0], -1) >= place[1]:
            fail(f"the windows of the key {key} are not in order at {value}")
        last[place[0]] = place[1]
        found += 1
    if expected:
        fail(f"{len(expected)} windows are missing, such as {sorted(expected)[:3]}")
    return found


def milliseconds(text):
    from datetime import datetime

    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def main():
    total, keys, window = (int(word) for word in sys.argv[1:4])
    counts = check_counts(sys.argv[4], total, keys)
    windows = check_windows(sys.argv[5], total, keys, window)
    print(f"{counts} counts and {windows} windows")


main()
