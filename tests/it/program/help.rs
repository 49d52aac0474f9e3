//! Help, completions and the manual page.

use std::io::Write;
use std::process::{Command, Stdio};

use super::Program;

/// Every command that is not a group.
fn commands(program: &Program, path: &[String]) -> Vec<Vec<String>> {
    let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
    args.push("--help");
    let help = program.run(&args).worked().stdout;
    let Some((_, list)) = help.split_once("Commands:\n") else {
        let (_, examples) = help
            .split_once("Examples:\n")
            .unwrap_or_else(|| panic!("{path:?} has no examples"));
        let long = examples
            .lines()
            .find(|line| line.starts_with(' ') && line.chars().count() > 80);
        assert_eq!(long, None, "it breaks on a terminal");
        return vec![path.to_vec()];
    };
    let mut found = Vec::new();
    for line in list.lines().take_while(|line| !line.is_empty()) {
        // The second line of a description is indented further.
        let name = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '));
        let name = name.and_then(|rest| rest.split_whitespace().next());
        if let Some(name) = name.filter(|name| *name != "help") {
            found.extend(commands(program, &[path, &[name.to_owned()]].concat()));
        }
    }
    found
}

#[test]
fn every_command_has_help_with_examples_and_a_place_in_the_manual() {
    let program = Program::new();
    let found = commands(&program, &[]);
    assert!(found.len() >= 9, "{found:?}");
    let manual = program.run(&["man"]).worked().stdout;
    let page = include_str!("../../../docs/program.md");
    for path in found {
        let name = path.join(" ");
        let heading = format!(".SH \"PGMONKEY {}\"", name.to_uppercase());
        assert!(manual.contains(&heading), "{name} is not in the manual");
        assert!(
            page.contains(&format!("`{name}")),
            "{name} is not in docs/program.md"
        );
    }
}

#[test]
fn completions_are_for_the_shell_asked_for() {
    let program = Program::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = program.run(&["completions", shell]).worked().stdout;
        assert!(text.contains("generate-code"), "{shell}");
    }
    let text = program.run(&["completions", "bash"]).stdout;
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .expect("bash");
    let mut stdin = bash.stdin.take().expect("it was asked for");
    stdin.write_all(text.as_bytes()).expect("bash reads");
    drop(stdin);
    assert!(bash.wait().expect("it ends").success());
    assert_eq!(program.run(&["completions", "tcsh"]).code, 2);
}

#[test]
fn calling_it_wrongly_is_2_and_asking_for_help_is_0() {
    let program = Program::new();
    for args in [
        &[][..],
        &["config"],
        &["pgconfig"],
        &["pgserverconfig"],
        &["settings"],
        &["config", "test"],
        &["config", "test", "f", "--count", "0"],
        &["config", "test", "f", "--connection-type", "Pool"],
        &["config", "test", "f", "--filepath", "g"],
        &["config", "create", "f", "--from-env", "--from-url", "x"],
    ] {
        let ended = program.run(args);
        assert_eq!(ended.code, 2, "{args:?}");
        assert_eq!(ended.stdout, "", "{args:?}");
        assert!(
            ended.stderr.contains("--help"),
            "{args:?}: {}",
            ended.stderr
        );
    }
    program.run(&["--help"]).worked().prints("Usage");
    program
        .run(&["pgconfig", "--help"])
        .worked()
        .prints("generate-code");
    let version = program.run(&["--version"]).worked();
    assert!(version.stdout.starts_with("pgmonkey "));
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let program = Program::new();
    program.write("c.yaml", "connection_settings: { hots: x }\n");
    let plain = program.run(&["config", "check", "c.yaml"]).failed();
    assert!(!plain.stderr.contains('\u{1b}'));
    let on_terminal = |environment: &[(&str, &str)]| {
        let command = program.command(&["config", "check", "c.yaml"]);
        let line = format!("{} config check c.yaml", command.get_program().display());
        // `script` gives a command a terminal.
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .current_dir(program.path("."))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("script, of util-linux");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let coloured = on_terminal(&[("TERM", "xterm")]);
    assert!(
        coloured.contains("\u{1b}[") && coloured.contains("hots"),
        "{coloured:?}"
    );
    let plain = on_terminal(&[("TERM", "xterm"), ("NO_COLOR", "1")]);
    assert!(
        !plain.contains('\u{1b}') && plain.contains("hots"),
        "{plain:?}"
    );
    assert!(!on_terminal(&[("TERM", "dumb")]).contains('\u{1b}'));
}
