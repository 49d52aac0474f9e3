//! Which process a container belongs to.

use std::process::{self, Command, Stdio};

/// The value of the label of this process's containers.
pub(super) fn owner() -> String {
    format!("{}:{}", machine(), process::id())
}

/// Part of the label because pids mean nothing on another machine that shares the engine.
fn machine() -> String {
    let output = Command::new("uname").arg("-n").output();
    let name = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&name).trim().to_owned()
}

/// Whether the process that a label names has ended.
pub(super) fn is_gone(owner: &str) -> bool {
    let Some((machine_name, process)) = owner.rsplit_once(':') else {
        return false;
    };
    let alive = Command::new("sh")
        .args(["-c", "kill -s 0 \"$1\"", "kill", process])
        .stderr(Stdio::null())
        .status();
    machine_name == machine() && alive.is_ok_and(|status| !status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_process_of_this_machine_is_gone() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!is_gone(&owner()));
        assert!(is_gone(&format!("{}:{}", machine(), child.id())));
        assert!(!is_gone(&format!("elsewhere:{}", child.id())));
    }
}
