//! Finds files of other jobs in a sink's folder. Two jobs that write to one folder double its output.

use std::collections::BTreeMap;
use std::path::Path;

use super::sink_part::job_and_checkpoint;
use crate::access::AccessPolicy;
use crate::connector::sink::OtherJobOutput;

/// Returns the output that other jobs have published in a sink's folder, by job id. A folder that cannot be read counts
/// as empty; the sink reports the error when it writes.
pub(in crate::connector) fn output_of_other_jobs(
    folder: &Path,
    policy: &AccessPolicy,
) -> BTreeMap<String, OtherJobOutput> {
    let mut others: BTreeMap<String, OtherJobOutput> = BTreeMap::new();
    let names = policy.pin_folder(folder).and_then(|folder| folder.names());
    for name in names.unwrap_or_default() {
        let Some((job, checkpoint)) = name.to_str().and_then(job_and_checkpoint) else { continue };
        let other = others.entry(job.to_owned()).or_default();
        other.files += 1;
        other.newest_checkpoint = other.newest_checkpoint.max(checkpoint);
    }
    others
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn published_parts_are_counted_by_job() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "part-a1-out-000-00000007.txt",
            "part-a1-out-long-id-001-00000003.txt",
            "part-b2-out-000-00000001.txt",
            "part-a1-out.txt",
            "part-a1-out-000-x.txt",
            "notes.txt",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = output_of_other_jobs(folder.path(), &AccessPolicy::default());
        assert_eq!(found["a1"], OtherJobOutput { files: 2, newest_checkpoint: 7 });
        assert_eq!(found["b2"], OtherJobOutput { files: 1, newest_checkpoint: 1 });
        assert_eq!(found.len(), 2);
        assert_eq!(output_of_other_jobs(&folder.path().join("none"), &AccessPolicy::default()).len(), 0);
    }
}
