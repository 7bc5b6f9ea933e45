//! What rows cost in parts of the host, on one thread and without a job: decoding, projection, and crossing into a component.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use apache_avro::reader::datum::GenericDatumReader;
use cofferdam::format::avro::{AvroReading, AvroWriting, check_row};
use cofferdam::format::records::{Fill, RecordSplitter};
use cofferdam::format::{RecordDecoder, RecordEncoder, SourceDecoding, column_names};
use cofferdam::model::row::{CopyPlan, RowSchema, read_json, write_bytes, write_signed};
use cofferdam::model::{Batch, Column};
use cofferdam::pipeline::{DecodingSettings, EncodingSettings, FileFormat, SinkFormat};
use cofferdam::sandbox::{Sandbox, SandboxOptions};
use cofferdam::turn::{Guest, OutputBatch, OutputId, Turn, TurnFailure};

use super::operator::Crossing;
use super::{Metrics, component, median, quantile_of, rounded};

/// Number of measurements of a part.
const SLICES: usize = 200;
/// Number of passes over the whole table.
const PASSES: usize = 9;
const BATCH: usize = 1024;
/// Number of rows per slice of the crossing.
const SLICE_RECORDS: usize = 16 * 1024;
/// The two fields that a decoder reads of nineteen.
const DECODED: &str = "{tailnum:string,dep_delay:i32?}";

/// Measures all parts. `csv` and `ndjson` are the same table.
pub fn measure(csv: &[u8], ndjson: &[u8], metrics: &mut Metrics) {
    println!("\nparts of the host, one thread:\n");
    let mut add = |name: &str, value: f64, what: &str| {
        println!("{name:<36} {value:>9.1}   {what}");
        metrics.insert(name.to_owned(), rounded(value, 1));
    };
    let (seconds, records) = decode(csv, FileFormat::Csv);
    add("csv_decode_mb_per_s", csv.len() as f64 / seconds / 1e6, "two of nineteen columns, from bytes to rows");
    add("csv_decode_ns", seconds * 1e9 / records as f64, "");
    let (seconds, records) = decode(ndjson, FileFormat::Ndjson);
    add("ndjson_decode_mb_per_s", ndjson.len() as f64 / seconds / 1e6, "two of nineteen fields, from bytes to rows");
    add("ndjson_decode_ns", seconds * 1e9 / records as f64, "");
    let [ours, of_crate] = avro(csv);
    add("avro_decode_ns", ours, "two of nineteen fields, from records to rows");
    add("avro_crate_decode_ns", of_crate, "the same records by the crate apache-avro, to its values");
    add("projection_ns", projection_ns(), "three of eight fields in another order");
    let slices = crossing();
    add("row_crossing_native_ns", slices[0], "a row of two fields read and emitted, natively");
    add("row_crossing_component_ns", slices[1], "by a component");
    add("row_crossing_over_native_ns", slices[2], "the difference");
}

fn schema(text: &str) -> Arc<RowSchema> {
    Arc::new(text.parse().expect("a schema"))
}

/// Splits and decodes the whole table. Returns the median seconds of a pass, and the number of records.
fn decode(table: &[u8], format: FileFormat) -> (f64, usize) {
    let decoding = SourceDecoding {
        rows: vec![schema(DECODED)],
        wants_raw: false,
        ..SourceDecoding::raw(format, DecodingSettings::default(), None)
    };
    let mut count = 0;
    let mut pass = || {
        let start = Instant::now();
        count = decode_once(table, &decoding);
        start.elapsed().as_secs_f64()
    };
    let seconds: Vec<f64> = (0..PASSES).map(|_| pass()).collect();
    (median(&seconds), count)
}

fn decode_once(table: &[u8], decoding: &SourceDecoding) -> usize {
    let csv = decoding.format == FileFormat::Csv;
    let mut decoder = RecordDecoder::compile(decoding, csv).expect("the fields can be decoded");
    let mut splitter = RecordSplitter::new(table, decoding.format, 0);
    let (mut rows, mut count, mut header) = ([Column::with_capacity(BATCH, 16 * BATCH)], 0, csv);
    loop {
        while let Some(record) = splitter.next_record() {
            if std::mem::take(&mut header) {
                let names = column_names(record);
                decoder.set_columns(&names).expect("the table has the columns");
                continue;
            }
            decoder.decode(record, &mut rows).expect("the table is valid");
            count += 1;
            if rows[0].len() == BATCH {
                black_box(&rows);
                rows[0].clear();
            }
        }
        if splitter.fill().expect("memory can be read") != Fill::More {
            return count;
        }
    }
}

/// Returns the nanoseconds to decode two of nineteen fields of a record of Avro: as the host does, and with the crate `apache-avro`.
fn avro(csv: &[u8]) -> [f64; 2] {
    let header = csv.split(|byte| *byte == b'\n').next().expect("the table has a header");
    let names = column_names(header);
    let field = |name: &String| format!("{name}:{}", if name == "dep_delay" { "i32?" } else { "string" });
    let row = schema(&format!("{{{}}}", names.iter().map(field).collect::<Vec<_>>().join(",")));
    let decoding = SourceDecoding {
        rows: vec![row.clone()],
        wants_raw: false,
        ..SourceDecoding::raw(FileFormat::Csv, DecodingSettings::default(), None)
    };
    let mut decoder = RecordDecoder::compile(&decoding, true).expect("the fields can be decoded");
    decoder.set_columns(&names).expect("the table has the columns");
    let writing = AvroWriting { schema: None, name: "flight".to_owned(), ids: None };
    let written = check_row(&writing, &row).expect("the row has a schema");
    let settings = EncodingSettings { format: Some(SinkFormat::Avro), ..EncodingSettings::default() };
    let mut encoder = RecordEncoder::new(settings).with_avro(writing);
    let records: Vec<Vec<u8>> = csv
        .split(|byte| *byte == b'\n')
        .skip(1)
        .take(100 * BATCH)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (mut rows, mut record) = ([Column::new()], Vec::new());
            decoder.decode(line, &mut rows).expect("the table is valid");
            encoder.encode_message(Some(&row), rows[0].value(0), &mut record).expect("the row can be encoded");
            record
        })
        .collect();
    let decoding = SourceDecoding {
        avro: Some(AvroReading { schema: written.clone(), writers: None }),
        rows: vec![schema(DECODED)],
        wants_raw: false,
        ..SourceDecoding::raw(FileFormat::Avro, DecodingSettings::default(), None)
    };
    let mut decoder = RecordDecoder::compile(&decoding, false).expect("the fields can be decoded");
    let mut ours = || {
        let mut rows = [Column::with_capacity(BATCH, 16 * BATCH)];
        for batch in records.chunks(BATCH) {
            rows[0].clear();
            for record in batch {
                decoder.decode(record, &mut rows).expect("the record is valid");
            }
            black_box(&rows);
        }
    };
    let parsed = apache_avro::Schema::parse_str(written.text()).expect("the schema is valid");
    let reader = GenericDatumReader::builder(&parsed).build().expect("the schema is valid");
    let mut of_crate = || {
        for record in &records {
            black_box(reader.read_value(&mut &record[..]).expect("the record is valid"));
        }
    };
    let passes: [&mut dyn FnMut(); 2] = [&mut ours, &mut of_crate];
    passes.map(|pass| {
        let seconds = (0..PASSES).map(|_| {
            let start = Instant::now();
            pass();
            start.elapsed().as_secs_f64()
        });
        median(&seconds.collect::<Vec<_>>()) * 1e9 / records.len() as f64
    })
}

/// Returns the cost of copying three of eight fields of a row, in another order, into the column of a new batch.
fn projection_ns() -> f64 {
    let from = schema(
        "{dep_delay:i32?,arr_delay:i32?,carrier:string,flight:i32,tailnum:string,origin:string,dest:string,time:timestamp}",
    );
    let to = schema("{tailnum:string,carrier:string,dep_delay:i32?}");
    let plan = CopyPlan::compile(&from, &to).expect("all fields exist").expect("the schemas differ");
    let rows: Column = (0..BATCH as u64)
        .map(|number| {
            let values = BTreeMap::from([
                ("dep_delay", serde_json::json!(number % 90)),
                ("arr_delay", serde_json::Value::Null),
                ("carrier", "UA".into()),
                ("flight", (1000 + number).into()),
                ("tailnum", format!("N{:05}", number * 37 % 100_000).into()),
                ("origin", "EWR".into()),
                ("dest", "IAH".into()),
                ("time", 1_357_034_400_000u64.into()),
            ]);
            let (json, mut row) = (serde_json::to_vec(&values).expect("plain data"), Vec::new());
            read_json(&from, &json, &mut row).expect("a valid row");
            row
        })
        .collect();
    let slice = |_| {
        let start = Instant::now();
        let mut copied = Column::with_capacity(rows.len(), rows.bytes().len());
        let mut copier = plan.copier();
        for row in rows.iter() {
            assert!(copied.try_push_with(|bytes| copier.copy(row, bytes)).is_ok(), "a valid row");
        }
        black_box(copied);
        start.elapsed().as_nanos() as f64 / BATCH as f64
    };
    quantile_of(&(0..SLICES).map(slice).collect::<Vec<_>>(), 0.5)
}

/// The native version of the function `row-crossing` of `tests/guests/crossing`: reads both fields and writes them again.
struct NativeRowCrossing;

impl NativeRowCrossing {
    fn read(row: &[u8]) -> Option<(&str, Option<i32>)> {
        let (&length, rest) = row.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(length))?;
        let number = match rest {
            [0] => None,
            [1, digits @ ..] => {
                let value = digits.iter().rev().fold(0u32, |value, byte| value << 7 | u32::from(byte & 0x7f));
                Some((value >> 1) as i32 ^ -((value & 1) as i32))
            }
            _ => return None,
        };
        Some((std::str::from_utf8(name).ok()?, number))
    }
}

impl Guest for NativeRowCrossing {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut out = Batch::with_capacity(batch.len(), batch.values.bytes().len());
        for (row, &timestamp) in batch.values.iter().zip(&batch.timestamps) {
            let (name, number) = NativeRowCrossing::read(row).expect("a valid row");
            out.values.push_with(|to| {
                write_bytes(to, name.as_bytes());
                to.push(u8::from(number.is_some()));
                if let Some(number) = number {
                    write_signed(to, number.into());
                }
            });
            out.timestamps.push(timestamp);
        }
        out.schema.clone_from(&batch.schema);
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch: out }])
    }
}

/// Returns the median nanoseconds per row natively, in a component, and of their differences.
fn crossing() -> [f64; 3] {
    let bytes = std::fs::read(component("crossing")).expect("the component can be read");
    let sandbox = Sandbox::open(SandboxOptions::in_this_process(4)).expect("a sandbox can be opened");
    let component = sandbox.load(&bytes).expect("the component can be loaded");
    let schema = schema("{name:string,number:i32?}");
    let batch = |first: usize| {
        let mut batch = Batch::with_capacity(BATCH, 16 * BATCH);
        for number in first..first + BATCH {
            let name = format!("N{:05}", number * 37 % 100_000);
            let json = serde_json::json!({ "name": name, "number": number % 90 });
            let mut row = Vec::new();
            read_json(&schema, json.to_string().as_bytes(), &mut row).expect("a valid row");
            batch.push(&row, number as i64);
        }
        batch.schema = Some(schema.clone());
        batch
    };
    let batches = (0..SLICE_RECORDS / BATCH).map(|index| batch(index * BATCH)).collect();
    let mut crossing = Crossing::new(&component, "row-crossing", Box::new(NativeRowCrossing), batches);
    crossing.check();
    let slices = crossing.measure(SLICES);
    [slices.native, slices.sandboxed, slices.difference].map(|values| quantile_of(&values, 0.5))
}
