//! `cofferdam faults`: the faults of a job in groups, samples of a group, and what has been done about it.

use serde::Serialize;

use super::client::{ApiClient, segment};
use super::observe_arguments::FaultsArgs;
use super::print;
use crate::error::Result;
use crate::fault_groups::{FaultGroup, FaultGroupDetail, FaultStatus};
use crate::job::view::FaultGroupList;

#[derive(Serialize)]
struct StatusBody {
    status: FaultStatus,
}

/// Executes `cofferdam faults`.
pub fn faults(client: &ApiClient, args: &FaultsArgs, json: bool) -> Result<()> {
    let path = format!("/v1/jobs/{}/faults", segment(&args.job));
    let Some(group) = &args.group else {
        let list: FaultGroupList = client.get(&path)?;
        return if json { print::json(&list) } else { groups(&list.groups) };
    };
    let path = format!("{path}/{}", segment(group));
    if let Some(status) = args.status {
        let group: FaultGroup = client.patch_json(&path, &StatusBody { status })?;
        return if json { print::json(&group) } else { groups(&[group]) };
    }
    let detail: FaultGroupDetail = client.get(&path)?;
    if json { print::json(&detail) } else { samples(&detail) }
}

fn groups(groups: &[FaultGroup]) -> Result<()> {
    let row = |group: &FaultGroup| {
        let FaultGroup { id, operator, code, frame, message, count, last_seen_ms, status, .. } = group.clone();
        let place = frame.unwrap_or_else(|| "-".to_owned());
        [id, status.to_string(), operator, code, count.to_string(), print::time(last_seen_ms), place, message]
    };
    print::table(
        ["GROUP", "STATUS", "OPERATOR", "CODE", "COUNT", "LAST SEEN", "PLACE", "MESSAGE"],
        groups.iter().map(row),
    );
    Ok(())
}

fn samples(detail: &FaultGroupDetail) -> Result<()> {
    let FaultGroupDetail { group, samples } = detail;
    print::line(format_args!("{} [{}], {}", group.message, group.code, group.status));
    print::line(format_args!("operator   {}, function {}", group.operator, group.function));
    if let Some(component) = &group.component {
        print::line(format_args!("component  sha256:{component}"));
    }
    let (first, last) = (print::time(group.first_seen_ms), print::time(group.last_seen_ms));
    print::line(format_args!("seen       {} times, first {first}, last {last}", group.count));
    for sample in samples {
        print::line("");
        let time = print::time(sample.at_ms);
        print::line(format_args!("{time}  {} [{}]", sample.message, sample.on_fault));
        print::line(format_args!("  record {} of subtask {}", sample.record, sample.subtask));
        if let Some(timestamp_ms) = sample.timestamp_ms {
            print::line(format_args!("  timestamp {}", print::time(timestamp_ms)));
        }
        if let Some(key) = &sample.key {
            print::line(format_args!("  key {key}"));
        }
        print::line(format_args!("  value {}", sample.value));
        for frame in &sample.backtrace {
            print::line(format_args!("    at {frame}"));
        }
    }
    Ok(())
}
