//! Lists the dead letters of a job, and shows one completely.

use super::replays::replay_view;
use crate::connector::{LetterFile, StoredLetter};
use crate::error::{self, Result};
use crate::escape::shown;
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::planning;
use crate::job::store::JobRecord;
use crate::job::view::{DeadLetterDetail, DeadLetterPage, DeadLetterSummary, RecordPlace};
use crate::pipeline::PipelineSpec;
use crate::runtime::{PlanPurpose, first_with_value};

/// Size at which a page of letters ends, in bytes.
const PAGE_BYTES_MAX: usize = 512 << 10;
/// Bytes of a letter in a page besides its texts.
const LETTER_BYTES: usize = 256;
/// Number of replays that are shown, the newest ones.
const REPLAYS_SHOWN: usize = 500;

/// Returns the parts of the letters that are left, of one node or of all.
pub(super) fn open_parts(job: &JobHandle, record: &JobRecord, node: Option<&str>) -> Result<Vec<LetterFile>> {
    let completed = || record.replays.iter().filter(|replay| replay.completed_in.is_some());
    let mut parts = job.letters().parts()?;
    parts.retain(|part| {
        node.is_none_or(|node| part.node == node) && completed().all(|replay| !replay.covers(&part.name))
    });
    Ok(parts)
}

/// Returns letters in the order in which they were committed: at most `limit`, behind the letter `after`.
pub fn list_letters(job: &JobHandle, node: Option<&str>, after: Option<&str>, limit: usize) -> Result<DeadLetterPage> {
    let record = job.record();
    let parts = open_parts(job, &record, node)?;
    let replays = record.replays.iter().skip(record.replays.len().saturating_sub(REPLAYS_SHOWN)).map(replay_view);
    let mut page = DeadLetterPage { replays: replays.collect(), ..DeadLetterPage::default() };
    let after = after.map(letter_place).transpose()?;
    let (mut is_behind, mut shown_bytes) = (after.is_none(), 0);
    for part in &parts {
        page.bytes += part.bytes;
        // The part may be removed meanwhile.
        let Ok(mut lines) = job.letters().lines(&part.name) else { continue };
        if let Some((name, line)) = after.filter(|_| !is_behind)
            && name == part.name
        {
            is_behind = true;
            page.total += lines.skip(line)?;
        }
        while is_behind && page.letters.len() < limit && shown_bytes < PAGE_BYTES_MAX {
            let Some(line) = lines.next_line()? else { break };
            page.total += 1;
            let letter = summary(part, line.number, &line.json);
            shown_bytes +=
                LETTER_BYTES + letter.message.len() + letter.value.len() + letter.key.as_ref().map_or(0, String::len);
            page.letters.push(letter);
        }
        page.total += lines.skip(u64::MAX)?;
    }
    if let Some((name, _)) = after.filter(|_| !is_behind) {
        return Err(error::dead_letter_not_found(format!("the letters of `{name}` are gone; list from the beginning")));
    }
    Ok(page)
}

fn summary(part: &LetterFile, line: u64, json: &[u8]) -> DeadLetterSummary {
    let mut summary = DeadLetterSummary {
        id: format!("{}.{line}", part.name),
        node: part.node.clone(),
        ..DeadLetterSummary::default()
    };
    if let Some(letter) = StoredLetter::parse(json) {
        summary.key = letter.key().as_deref().map(shown);
        summary.value = shown(letter.shown_value().as_bytes());
        summary.attempt = letter.attempt;
        summary.timestamp_ms = letter.timestamp;
        summary.message = shown(letter.message.as_bytes());
        summary.can_be_replayed = letter.replay.is_some();
        summary.code = letter.code;
    }
    summary
}

/// Returns a letter by its id. Error: `dead-letter-not-found`.
pub fn show_letter(job: &JobHandle, environment: &JobEnvironment, id: &str) -> Result<DeadLetterDetail> {
    let record = job.record();
    let (name, line) = letter_place(id)?;
    let found =
        open_parts(job, &record, None)?.into_iter().find(|part| part.name == name).ok_or_else(|| unknown(id))?;
    let mut lines = job.letters().lines(&found.name)?;
    lines.skip(line - 1)?;
    let json = lines.next_line()?.ok_or_else(|| unknown(id))?.json;
    let letter = serde_json::from_slice(&json).map_err(|cause| {
        error::data_dir_failed(format!("the letter `{}` is damaged: {cause}", shown(id.as_bytes())))
    })?;
    let first_with_same_value = record_place(environment, &record, &found.node, &json);
    Ok(DeadLetterDetail { id: id.to_owned(), letter, first_with_same_value })
}

/// Searches the input for the record of a letter that does not name its place. Returns `None` if the job cannot be planned any more.
fn record_place(environment: &JobEnvironment, record: &JobRecord, node: &str, json: &[u8]) -> Option<RecordPlace> {
    let letter: serde_json::Value = serde_json::from_slice(json).ok()?;
    if letter.get("source").is_some() || letter.get("replay").is_none() {
        return None;
    }
    let content = match letter.get("value")? {
        serde_json::Value::String(text) => text.clone(),
        _ => StoredLetter::parse(json)?.shown_value(),
    };
    let pipeline = PipelineSpec::parse(&record.pipeline_text, &record.file_name).ok()?;
    let purpose = PlanPurpose::Attempt(None);
    let (store, paths) = (&environment.components, environment.paths(record.base_dir.clone()));
    let plan = planning::plan(purpose, pipeline, &record.components, store, &paths, &|| false).ok()?;
    let found = first_with_value(&plan, node, content.as_bytes(), &paths, &|| false)?;
    Some(RecordPlace { file: found.file, line: found.line, byte: found.byte })
}

/// Returns the part and the line that an id names.
pub(super) fn letter_place(id: &str) -> Result<(&str, u64)> {
    let place = id.rsplit_once('.').and_then(|(name, line)| Some((name, line.parse::<u64>().ok()?)));
    place.filter(|(_, line)| *line > 0).ok_or_else(|| unknown(id))
}

pub(super) fn unknown(id: &str) -> error::Error {
    error::dead_letter_not_found(format!("there is no letter `{}`", shown(id.as_bytes())))
        .hint("list the letters: cofferdam dead-letter list JOB")
}
