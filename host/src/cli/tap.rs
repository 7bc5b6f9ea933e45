//! `cofferdam tap`: shows records as they pass a node of a job on a server.

use std::io::Write;

use serde::de::DeserializeOwned;

use super::client::{ApiClient, segment};
use super::observe_arguments::TapArgs;
use super::print;
use crate::error::Result;
use crate::escape;
use crate::job::view::{TapRecord, TapSummary};
use crate::stdio;

/// Prints records until the job ends, or so many were printed, or the command is interrupted.
pub fn tap(client: &ApiClient, args: &TapArgs, json: bool) -> Result<()> {
    let side = match (args.r#in, args.out) {
        (true, _) => Some("in"),
        (_, true) => Some("out"),
        _ => None,
    };
    let (every, rate) = (args.every.to_string(), args.rate.to_string());
    let mut query = vec![("every", every.as_str()), ("rate", rate.as_str())];
    query.extend(side.map(|side| ("side", side)));
    let path = format!("/v1/jobs/{}/tap/{}", segment(&args.job), segment(&args.operator));
    let mut printed = 0;
    let mut summary = TapSummary::default();
    client.events(&path, &query, &mut |event, data| {
        match event {
            "record" => {
                printed += 1;
                if !print_record(&decode(client, data)?, json)? {
                    return Ok(false);
                }
            }
            "summary" | "end" => {
                let before = std::mem::replace(&mut summary, decode(client, data)?);
                let dropped = summary.dropped.saturating_sub(before.dropped);
                if dropped > 0 {
                    stdio::tell(format_args!(
                        "warning: {dropped} records were dropped, because they were read too slowly"
                    ));
                }
            }
            _ => {}
        }
        Ok(event != "end" && args.limit.is_none_or(|limit| printed < limit))
    })?;
    stdio::tell(format_args!("{printed} records were shown"));
    Ok(())
}

fn decode<T: DeserializeOwned>(client: &ApiClient, data: &str) -> Result<T> {
    serde_json::from_str(data).map_err(|error| client.unexpected_answer(error))
}

/// Prints a record on one line. Returns whether stdout is still open.
fn print_record(record: &TapRecord, json: bool) -> Result<bool> {
    let text = if json { print::json_line(record)? } else { line(record) };
    let mut out = std::io::stdout().lock();
    Ok(writeln!(out, "{text}").and_then(|()| out.flush()).is_ok())
}

fn line(record: &TapRecord) -> String {
    let port = match (&record.input, &record.output) {
        (Some(input), _) => input,
        (_, Some(output)) => output,
        _ => "",
    };
    let at = record.timestamp_ms.map(|ms| format!("{}  ", print::time(ms))).unwrap_or_default();
    let key = record.key.as_ref().map(|key| format!("{key}  ")).unwrap_or_default();
    let value = match &record.value {
        serde_json::Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    escape::one_line(&format!("{port}/{}  {at}{key}{value}", record.subtask)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let mut record: TapRecord =
            serde_json::from_str("{\"subtask\":1,\"output\":\"main\",\"key\":\"k\",\"value\":{\"a\":1},\"bytes\":2}")
                .unwrap();
        assert_eq!(line(&record), "main/1  k  {\"a\":1}");
        record.value = "two\nlines".into();
        assert_eq!(line(&record), "main/1  k  two\\nlines");
    }
}
