"""Counts the lines of each key: emits `LINE,COUNT`.

The same function as `count` of tests/guests/relay, by hand against the bindings that componentize-py generates from wit/. The state holds
a count as JSON, that is as decimal digits.
"""

from wit_world import exports
from wit_world.exports.guest import (
    ComponentDescription,
    Form,
    FunctionDescription,
    FunctionKind,
    Port,
    PortLayout,
    StateDescription,
    StateKind,
)
from wit_world.imports import state
from wit_world.imports.types import Batch, Column, Output, RecordValues_Packed, Timestamps_Inherited


def port(name: str, key_type: str) -> Port:
    return Port(name, codec="raw", schema=[], layout=PortLayout.PACKED, key_type=key_type)


def values_of(column: Column) -> list[bytes]:
    offsets = column.offsets
    return [column.bytes[start:end] for start, end in zip(offsets, offsets[1:])]


def column_of(values: list[bytes]) -> Column:
    offsets, end = [0], 0
    for value in values:
        end += len(value)
        offsets.append(end)
    return Column(b"".join(values), offsets)


class Guest(exports.Guest):
    def describe(self) -> ComponentDescription:
        counts = StateDescription(
            "count", StateKind.VALUE, Form("json", "u64"), map_key="", ttl=None, reads=[], writes=[]
        )
        count = FunctionDescription(
            "count",
            FunctionKind.KEYED_PROCESS,
            inputs=[port("in", "string")],
            outputs=[port("out", "")],
            states=[counts],
            timers=[],
        )
        return ComponentDescription("by hand, in Python", [count])

    def process(self, function_index: int, input: int, batch: Batch) -> list[Output]:
        assert isinstance(batch.values, RecordValues_Packed)
        counts = [int(value or b"0") for value in values_of(state.value_load(0).values)]
        lines = []
        for line, key in zip(values_of(batch.values.value), batch.key_of):
            counts[key] += 1
            lines.append(b"%b,%d" % (line, counts[key]))
        state.value_store(0, list(range(len(counts))), column_of([b"%d" % count for count in counts]))
        output = Output(
            0,
            RecordValues_Packed(column_of(lines)),
            Timestamps_Inherited(),
            origins=list(range(len(lines))),
            keys=None,
            attributes=None,
        )
        return [output]
