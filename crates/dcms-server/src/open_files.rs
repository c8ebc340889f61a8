//! How many files the process may have open, and with them connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open besides connections: the database's, the listener, logs.
const OPEN_BESIDES: u64 = 124;

/// More than this would take more memory than a clinic's machine is likely to have to spare.
const MOST_CONNECTIONS: u64 = 10_000;

/// Lets the process have as many files open as the machine allows it to, and answers how many
/// connections that leaves room for.
#[must_use]
pub fn connections_to_allow() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            limit.current
        }
    };
    allowed_within(current)
}

/// No limit is one that is far away.
fn allowed_within(open_files: Option<u64>) -> usize {
    let open_files = open_files.unwrap_or(u64::MAX);
    let connections = open_files.saturating_sub(OPEN_BESIDES);
    // Few enough for any number.
    usize::try_from(connections.clamp(1, MOST_CONNECTIONS)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_other_files() {
        for (open_files, connections) in [
            (Some(0), 1),
            (Some(1_024), 900),
            (Some(4_096), 3_972),
            (Some(1_048_576), 10_000),
            (None, 10_000),
        ] {
            assert_eq!(allowed_within(open_files), connections);
        }
    }

    #[test]
    fn the_limit_is_raised_to_what_the_machine_allows() {
        let allowed = connections_to_allow();
        assert_eq!(allowed, allowed_within(getrlimit(Resource::Nofile).maximum));
    }
}
