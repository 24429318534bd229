//! What it means that a collector runs and gives less than there is, in sentences: what is missing, and what to do.

use crate::privileges::{OF_PERMISSION, is_about_permission};

/// What is missing for a reason; the reason itself, if it is not known here.
pub(super) fn missing(reason: &'static str) -> &'static str {
    match reason {
        reason if OF_PERMISSION.contains(&reason) => {
            "what another user or root alone may see is missing"
        }
        "hidepid" => "processes of other users are missing: procfs is mounted with hidepid",
        "own processes" => "processes outside of the daemon's own process namespace are missing",
        "own mounts" => {
            "mounts that the daemon's own mount namespace lacks are missing: those of process 1 cannot be read"
        }
        "timeout" => "what had no time left to answer is missing",
        "max_series" => "samples beyond its max_series are missing",
        "list cut" => {
            "interfaces of bonds are missing: the kernel puts no more than 4,096 bytes of them into one file"
        }
        "its thread shares the daemon's descriptors" => {
            "nothing is missing, but its thread shares the daemon's descriptors: after a SIGKILL the port may stay \
             taken while it hangs"
        }
        reason => reason,
    }
}

/// What to do about a reason; nothing if it is not known here.
pub(super) fn remedy(reason: &str) -> &'static str {
    match reason {
        reason if OF_PERMISSION.contains(&reason) => {
            "run the daemon as a user who may, or accept it"
        }
        "hidepid" => {
            "run the daemon as the service that comes with it, which has a procfs of its own"
        }
        "own processes" => {
            "in a container give it --pid=host, or the host's procfs by procfs of [paths]"
        }
        "own mounts" => {
            "run the daemon as the service that comes with it; in a container give it --pid=host, or the host's \
             procfs by procfs of [paths]"
        }
        "timeout" => "see what it waits for, or set a longer timeout of [scrape]",
        "max_series" => "set a filter of the collector, or a higher max_series",
        "list cut" => "accept it: netclass has all of them",
        "its thread shares the daemon's descriptors" => {
            "let the daemon use the system call unshare, or accept it"
        }
        _ => "",
    }
}

/// What would show it what it may not see, if this is what a reason or an error is about.
pub(super) fn capabilities(said: &str, lacked: &[&str]) -> Option<String> {
    (is_about_permission(said) && !lacked.is_empty()).then(|| {
        format!(
            "give the daemon {}, for which vitald plugins --systemd writes the lines of its unit, or accept it",
            lacked.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That the table has what collectors say is a test of its own (`tests/documents.rs`).
    #[test]
    fn each_reason_of_the_page_for_operators_has_a_sentence_and_a_remedy() {
        let operations = include_str!("../../../../docs/operations.md");
        let section = operations.split("### A collector is degraded\n").nth(1).expect("a section");
        let section = section.split("\n### ").next().expect("its text");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
        let cells = rows.filter_map(|row| Some(row.split_once(" |")?.0));
        let reasons: Vec<&str> = cells
            .flat_map(|cell| cell.split(", "))
            .map(|reason| reason.trim_matches('`'))
            .collect();
        assert!(reasons.len() >= 7, "{reasons:?}");
        for reason in reasons {
            assert_ne!(missing(reason), reason);
            assert_ne!(remedy(reason), "", "{reason}");
        }
    }

    #[test]
    fn capabilities_are_named_where_they_would_help() {
        let lacked = ["CAP_SYS_PTRACE"];
        for said in ["permission", "proc/1/mounts: Permission denied (os error 13)"] {
            let told = capabilities(said, &lacked).expect("a remedy");
            assert!(told.starts_with("give the daemon CAP_SYS_PTRACE, "), "{told}");
            assert_eq!(capabilities(said, &[]), None);
        }
        assert_eq!(capabilities("hidepid", &lacked), None);
    }
}
