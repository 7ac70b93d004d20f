//! What `profiler __calls` has counted.

use serde_json::Value;

use super::observer::Observer;

/// A number of a JSON object.
#[track_caller]
pub(crate) fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {value}"))
}

/// Counts the calls of a process from now on.
pub(crate) fn count(pid: &str, arguments: &[&str]) -> Observer {
    let mut observer = Observer::spawn(&[&["__calls", "--pid", pid], arguments].concat());
    observer.wait_attached();
    observer
}

/// Ends counting. Every hit is accounted for, and none is lost.
#[track_caller]
pub(crate) fn counted(observer: Observer) -> Value {
    let outcome = observer.interrupt();
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let counted: Value = serde_json::from_slice(&outcome.stdout).expect("JSON");
    for probe in ["sys_enter", "sys_exit"] {
        let ledger = &counted["ledger"][probe];
        assert!(number(ledger, "hits") > 0, "{ledger}");
        assert_eq!((number(ledger, "unaccounted"), number(ledger, "lost")), (0, 0), "{ledger}");
    }
    counted
}
