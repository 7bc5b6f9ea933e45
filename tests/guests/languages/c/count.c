// Counts the lines of each key: emits `LINE,COUNT`. The same function as `count` of tests/guests/relay, by hand against the bindings that
// wit-bindgen generates from wit/.
//
// The state holds a count as JSON, that is as decimal digits.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "component.h"

typedef cofferdam_function_types_column_t column_t;
typedef exports_cofferdam_function_guest_port_t port_t;

// The functions of the generated bindings free everything that a call returns. So it is allocated, texts of `describe` included.
static component_string_t text(const char *characters) {
    component_string_t copy = {malloc(strlen(characters) + 1), strlen(characters)};
    memcpy(copy.ptr, characters, copy.len);
    return copy;
}

static port_t port(const char *name, const char *key_type) {
    return (port_t){
        .name = text(name),
        .codec = text("raw"),
        .layout = EXPORTS_COFFERDAM_FUNCTION_GUEST_PORT_LAYOUT_PACKED,
        .key_type = text(key_type),
    };
}

void exports_cofferdam_function_guest_describe(exports_cofferdam_function_guest_component_description_t *ret) {
    exports_cofferdam_function_guest_state_description_t *state = calloc(1, sizeof *state);
    *state = (exports_cofferdam_function_guest_state_description_t){
        .name = text("count"),
        .kind = EXPORTS_COFFERDAM_FUNCTION_GUEST_STATE_KIND_VALUE,
        .form = {text("json"), text("u64")},
        .map_key = text(""),
    };
    port_t *inputs = calloc(1, sizeof *inputs);
    inputs[0] = port("in", "string");
    port_t *outputs = calloc(1, sizeof *outputs);
    outputs[0] = port("out", "");
    exports_cofferdam_function_guest_function_description_t *function = calloc(1, sizeof *function);
    *function = (exports_cofferdam_function_guest_function_description_t){
        .name = text("count"),
        .kind = EXPORTS_COFFERDAM_FUNCTION_GUEST_FUNCTION_KIND_KEYED_PROCESS,
        .inputs = {inputs, 1},
        .outputs = {outputs, 1},
        .states = {state, 1},
    };
    *ret = (exports_cofferdam_function_guest_component_description_t){text("by hand, in C"), {function, 1}};
}

// A column that grows by one value at a time.
struct builder {
    column_t column;
    size_t capacity;
};

static struct builder builder_new(size_t values, size_t capacity) {
    struct builder new = {.capacity = capacity};
    new.column.bytes.ptr = malloc(capacity);
    new.column.offsets.ptr = malloc((values + 1) * sizeof(uint32_t));
    new.column.offsets.ptr[0] = 0;
    new.column.offsets.len = 1;
    return new;
}

static void append(struct builder *to, const void *bytes, size_t length) {
    component_list_u8_t *all = &to->column.bytes;
    if (all->len + length > to->capacity) {
        to->capacity = 2 * (all->len + length);
        all->ptr = realloc(all->ptr, to->capacity);
    }
    memcpy(all->ptr + all->len, bytes, length);
    all->len += length;
}

static void end_value(struct builder *to) {
    to->column.offsets.ptr[to->column.offsets.len++] = to->column.bytes.len;
}

static size_t values_in(const column_t *column) {
    return column->offsets.len == 0 ? 0 : column->offsets.len - 1;
}

// Returns the counts of all keys of the batch.
static uint64_t *load(size_t keys) {
    uint64_t *counts = calloc(keys + 1, sizeof *counts);
    cofferdam_function_state_values_t stored;
    cofferdam_function_state_value_load(0, &stored);
    const column_t *column = &stored.values;
    for (size_t key = 0; key < keys; key++) {
        for (uint32_t at = column->offsets.ptr[key]; at < column->offsets.ptr[key + 1]; at++) {
            counts[key] = 10 * counts[key] + (column->bytes.ptr[at] - '0');
        }
    }
    cofferdam_function_state_values_free(&stored);
    return counts;
}

static void append_number(struct builder *to, uint64_t number) {
    char digits[24];
    append(to, digits, snprintf(digits, sizeof digits, "%llu", (unsigned long long)number));
}

static void store(const uint64_t *counts, size_t keys) {
    component_list_u32_t indices = {malloc((keys + 1) * sizeof(uint32_t)), keys};
    struct builder values = builder_new(keys, 16 * keys + 16);
    for (size_t key = 0; key < keys; key++) {
        indices.ptr[key] = key;
        append_number(&values, counts[key]);
        end_value(&values);
    }
    cofferdam_function_state_value_store(0, &indices, &values.column);
    component_list_u32_free(&indices);
    cofferdam_function_types_column_free(&values.column);
}

bool exports_cofferdam_function_guest_process(
    uint32_t function_index, uint32_t input, exports_cofferdam_function_guest_batch_t *batch,
    exports_cofferdam_function_guest_list_output_t *ret, exports_cofferdam_function_guest_failure_t *err) {
    (void)function_index;
    (void)input;
    (void)err;
    const column_t *lines = &batch->values.val.packed;
    size_t records = values_in(lines), keys = values_in(&batch->keys);
    uint64_t *counts = load(keys);
    struct builder out = builder_new(records, lines->bytes.len + 16 * records + 16);
    component_list_u32_t origins = {malloc((records + 1) * sizeof(uint32_t)), records};
    for (size_t record = 0; record < records; record++) {
        uint32_t start = lines->offsets.ptr[record];
        append(&out, lines->bytes.ptr + start, lines->offsets.ptr[record + 1] - start);
        append(&out, ",", 1);
        append_number(&out, ++counts[batch->key_of.ptr[record]]);
        end_value(&out);
        origins.ptr[record] = record;
    }
    store(counts, keys);
    free(counts);
    cofferdam_function_types_batch_free(batch);

    exports_cofferdam_function_guest_output_t *output = calloc(1, sizeof *output);
    output->values.tag = COFFERDAM_FUNCTION_TYPES_RECORD_VALUES_PACKED;
    output->values.val.packed = out.column;
    output->timestamps.tag = COFFERDAM_FUNCTION_TYPES_TIMESTAMPS_INHERITED;
    output->origins = origins;
    *ret = (exports_cofferdam_function_guest_list_output_t){output, 1};
    return true;
}
