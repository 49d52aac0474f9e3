//! `pgmonkey config …`.

use pgmonkey_tests::Fixture;

use super::{FILE, Program};

#[test]
fn check_reads_a_file_an_option_and_standard_input() {
    let on = Fixture::new();
    let program = Program::on(&on, "");
    for args in [
        &["config", "check", FILE][..],
        &["pgconfig", "check", "--filepath", FILE],
        &["config", "check", "--connconfig", FILE],
        &["config", "check", "--conn", FILE],
    ] {
        program.run(args).worked().prints("pgmonkey.yaml: ok");
    }
    let text = on.yaml("");
    let ended = program.run_with(&["config", "check", "-"], &text);
    ended.worked().prints(": ok, normal to");
    let ended = program.run_with(
        &["config", "check", "-"],
        "connection_settings: { hots: x }",
    );
    ended.failed().says("did you mean `host`?");
}

#[test]
fn a_reader_that_has_gone_is_no_news() {
    let program = Program::new();
    let mut command = program.command(&["config", "create", "c.yaml"]);
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
