//! Records of CSV, NDJSON and lines: the first byte chooses the format, the rest is the input.

use std::io::{self, Read};
use std::sync::Arc;

use crate::format::records::{Defect, Fill, RecordSplitter};
use crate::format::{RecordDecoder, SourceDecoding};
use crate::model::Column;
use crate::pipeline::{DecodingSettings, FileFormat};

/// The fields that are decoded. CSV names its columns in this order.
const SCHEMAS: [&str; 2] = ["{a:i64?,b:string,c:f64?}", "{b:string?,d:timestamp?,a:i32?,e:bool?,f:bytes?}"];
const COLUMNS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Reads at most a few bytes at once.
struct SlowReader<'a> {
    rest: &'a [u8],
    step: usize,
}

impl Read for SlowReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.step.min(into.len()).min(self.rest.len());
        let (now, rest) = self.rest.split_at(length);
        into[..length].copy_from_slice(now);
        self.rest = rest;
        Ok(length)
    }
}

/// The records do not depend on the sizes of reads. Decoding adds a row to each schema, or to none.
pub(super) fn run(data: &[u8]) {
    let Some((format, input)) = data.split_first() else { return };
    let format = [FileFormat::Csv, FileFormat::Ndjson, FileFormat::Lines, FileFormat::Raw][usize::from(format % 4)];
    let at_once = split(format, input, input.len().max(1));
    assert_eq!(split(format, input, 1), at_once);
    assert_eq!(split(format, input, 7), at_once);
    decode(format, &at_once.records);
}

#[derive(Debug, PartialEq)]
struct SplitInput {
    records: Vec<Vec<u8>>,
    defects: Vec<Defect>,
    is_foreign: bool,
    offset: u64,
}

fn split(format: FileFormat, input: &[u8], step: usize) -> SplitInput {
    let mut splitter = RecordSplitter::new(SlowReader { rest: input, step }, format, 0);
    let (mut records, mut defects, mut is_foreign) = (Vec::new(), Vec::new(), false);
    loop {
        while let Some(record) = splitter.next_record() {
            records.push(record.to_vec());
        }
        match splitter.fill().expect("the input does not fail") {
            Fill::More => {}
            Fill::Broken(defect) => {
                let _ = splitter.defective(100);
                defects.push(defect);
                splitter.skip();
            }
            Fill::Foreign(_) => {
                is_foreign = true;
                break;
            }
            Fill::End | Fill::Nothing => break,
        }
    }
    assert!(splitter.offset() <= input.len() as u64);
    SplitInput { records, defects, is_foreign, offset: splitter.offset() }
}

fn decode(format: FileFormat, records: &[Vec<u8>]) {
    let rows = match format {
        FileFormat::Lines => vec![Arc::new("{line:string?}".parse().unwrap())],
        FileFormat::Raw | FileFormat::Avro => Vec::new(),
        FileFormat::Csv | FileFormat::Ndjson => SCHEMAS.map(|schema| Arc::new(schema.parse().unwrap())).to_vec(),
    };
    let columns = Some(COLUMNS.map(str::to_owned).to_vec());
    let settings = DecodingSettings { columns, ..DecodingSettings::default() };
    let decoding = SourceDecoding { rows, ..SourceDecoding::raw(format, settings, None) };
    let mut decoder = RecordDecoder::compile(&decoding, false).unwrap();
    let mut columns = vec![Column::new(); decoding.rows.len()];
    for record in records {
        let before = columns.first().map_or(0, Column::len);
        let added = usize::from(decoder.decode(record, &mut columns).is_ok());
        assert!(columns.iter().all(|column| column.len() == before + added), "{record:?}");
        let _ = decoder.shown_timestamp(record);
    }
    for (column, schema) in columns.iter().zip(&decoding.rows) {
        for index in 0..column.len() {
            crate::model::row::write_json(schema, column.value(index), &mut Vec::new())
                .expect("a decoded row is valid");
        }
    }
}
