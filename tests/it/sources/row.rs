//! One row of a table.

/// The outcome: how the session identifies itself, or the words of the refusal.
pub(super) type Outcome = Result<String, String>;

/// What is tried, and the expected outcome.
///
/// Texts may name `<a>`, `<b>` and `<closed>` (ports of the two servers and of none), `<home>`
/// (the home directory), `<socket>` (directory of the first server's socket) and `<me>` (the
/// user of the operating system).
pub(super) struct Row {
    pub(super) name: String,
    pub(super) variables: Vec<(&'static str, String)>,
    pub(super) settings: Vec<(&'static str, String)>,
    pub(super) files: Vec<File>,
    /// A part of what psql must print.
    pub(super) expected: Result<String, String>,
    /// What pgmonkey must print instead, and where that is documented.
    pub(super) ours: Option<Result<String, String>>,
}

/// A file in the home directory.
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) content: String,
    pub(super) mode: u32,
}

/// A row whose variables lead user `app` to database `shop` of the first server.
pub(super) fn row(name: impl Into<String>) -> Row {
    bare(name)
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", "<a>")
        .env("PGUSER", "app")
        .env("PGDATABASE", "shop")
        .env("PGPASSWORD", "secret-a")
}

/// A row without any variables.
pub(super) fn bare(name: impl Into<String>) -> Row {
    Row {
        name: name.into(),
        variables: Vec::new(),
        settings: Vec::new(),
        files: Vec::new(),
        expected: Ok(String::new()),
        ours: None,
    }
}

impl Row {
    /// Sets a variable, replacing an earlier value.
    pub(super) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self = self.without(name);
        self.variables.push((name, value.into()));
        self
    }

    /// Removes a variable.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self
    }

    /// Sets a key of `connection_settings` and of psql's connection string, replacing an earlier
    /// value.
    pub(super) fn set(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.settings.retain(|(known, _)| *known != key);
        self.settings.push((key, value.into()));
        self
    }

    /// Puts a file into the home directory that only its owner can read.
    pub(super) fn file(self, path: &'static str, content: impl Into<String>) -> Self {
        self.file_with(path, content, 0o600)
    }

    /// The same with other permissions.
    pub(super) fn file_with(
        mut self,
        path: &'static str,
        content: impl Into<String>,
        mode: u32,
    ) -> Self {
        let content = content.into();
        self.files.push(File {
            path,
            content,
            mode,
        });
        self
    }

    /// Both connect, and the sessions' output contains this.
    pub(super) fn ok(mut self, facts: impl Into<String>) -> Self {
        self.expected = Ok(facts.into());
        self
    }

    /// Neither connects, and both for this reason.
    pub(super) fn no(mut self, words: impl Into<String>) -> Self {
        self.expected = Err(words.into());
        self
    }

    /// Neither connects; pgmonkey has its own message.
    pub(super) fn but_says(mut self, words: impl Into<String>) -> Self {
        assert!(self.expected.is_err(), "psql is refused as well");
        self.ours = Some(Err(words.into()));
        self
    }

    /// pgmonkey differs from libpq; `written` is where this is documented.
    pub(super) fn but_we(mut self, written: &str, outcome: Result<&str, &str>) -> Self {
        assert!(!written.is_empty(), "a difference has its reason");
        self.ours = Some(outcome.map(str::to_owned).map_err(str::to_owned));
        self
    }
}
