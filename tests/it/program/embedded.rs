//! The CLI as a library: it returns to its caller.

use std::ffi::OsString;
use std::process::ExitCode;

use super::FILE;
use super::desk::Desk;

/// A failure ended the calling process (B24), and nothing could be imported or exported inside an
/// event loop (B31).
#[test]
fn b24_b31_import_and_export_return_to_their_caller() {
    let desk = Desk::new();
    desk.write("data.csv", "a,b\n1,2\n");
    let path = |name: &str| desk.program.path(name).into_os_string();
    let call = |command: &str, table: &str, file: &str, more: &[&str]| {
        let mut args: Vec<OsString> = ["pgmonkey", command, table].map(OsString::from).into();
        args.extend([path(file), "--config".into(), path(FILE), "--quiet".into()]);
        args.extend(more.iter().map(OsString::from));
        pgmonkey_cli::run(args)
    };
    let both = || {
        assert_eq!(
            call("import", "t", "data.csv", &["--create"]),
            ExitCode::SUCCESS
        );
        assert_eq!(call("import", "none", "data.csv", &[]), ExitCode::from(1));
        assert_eq!(call("export", "t", "out.csv", &[]), ExitCode::SUCCESS);
        assert_eq!(call("export", "none", "out.csv", &[]), ExitCode::from(1));
        assert_eq!(
            call("import", "t", "data.csv", &["--no-such-option"]),
            ExitCode::from(2)
        );
    };
    both();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { both() });
    assert_eq!(desk.program.read("out.csv"), "a,b\n1,2\n1,2\n");
}
