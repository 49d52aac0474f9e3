//! Assembles a program: heading, imports, functions, `main`.

use std::fmt::Write as _;

use super::super::heading;
use super::tls::Source;

/// What the programs of all types start with.
pub(super) struct Program {
    pub(super) functions: String,
    pub(super) tls: Option<Source>,
}

impl Program {
    /// The expression for the driver's TLS argument.
    pub(super) fn encryption(&self) -> &'static str {
        match self.tls {
            Some(_) => "tls()?",
            None => "NoTls",
        }
    }

    /// What is imported from the driver itself.
    pub(super) fn driver(&self) -> &'static str {
        match self.tls {
            Some(_) => "{Config, config}",
            None => "{Config, NoTls, config}",
        }
    }

    /// Assembles the program: heading, imports, functions, then `main`.
    pub(super) fn text(
        self,
        about: &str,
        dependencies: &[&str],
        imports: &[String],
        main: &str,
    ) -> String {
        let mut imports = imports.to_vec();
        let mut dependencies = dependencies.to_vec();
        let mut body = self.functions;
        let with = match self.tls {
            Some(source) => {
                imports.extend(source.imports.iter().copied().map(str::to_owned));
                dependencies.extend(source.dependencies);
                body.push_str(&source.function);
                "with TLS by rustls"
            }
            None => "without TLS",
        };
        body.push_str(main);
        let mut text = heading(&format!("{about}, {with}."), &dependencies);
        for (import, word) in [
            ("error::Error", "Error>"),
            ("sync::Arc", "Arc::"),
            ("time::Duration", "Duration::"),
        ] {
            if body.contains(word) {
                let _ = writeln!(text, "use std::{import};");
            }
        }
        text.push('\n');
        imports.sort();
        for import in imports {
            let _ = writeln!(text, "use {import};");
        }
        text + "\n" + &body
    }
}
