//! The command line.

use anyhow::{Context, bail};

pub(crate) const USAGE: &str = "\
usage: cargo xtask <task> [options]

  test [options] [filter...] [-- ARGS]
                               run the workspace's tests against three throw-away servers
  test --server 14,16 [--battery] [options] [filter...]
                               run the integration tests on each of these versions of PostgreSQL,
                               whose programs it gets itself, and print one table; --battery runs
                               only the checks in which versions differ; --server all runs all
                               tests on the newest version and the battery on the others
  demo [options]               open all four connection types twice and print the result
  demo --readers               write to a primary, read from its two standbys, and let one be late
  bench [options] [name...]    compare pgmonkey with the other pools and the bare drivers: pools,
                               millisecond, contention, handles, homes, observer, roundtrips,
                               pinned, statements, and only if named: instructions (by valgrind),
                               cluster (the programs on this machine start a primary and two standbys);
                               with `metrics`, statements and instructions have those too;
                               BENCH_ROUNDS=N sets the number of rounds
  bench weight [library...]    what a hello world with TLS costs to build: crates, processor time
                               and size, beside deadpool-postgres, bb8-postgres and sqlx
  ha [--install] [scenario...] callers of all four types write while a Patroni cluster of three nodes
                               changes its primary: switchover, failover, kill, freeze, cut, restart
  standin [--image NAME]       build an image of this name from the server programs on this machine, for
                               --postgres docker where no registry can be reached
  soak [--minutes N]           tasks and threads move money on a server that is restarted (default 2)
  fuzz [--seconds N] [--install] [target...]
                               run the fuzz targets, each from its kept corpus (default 60 seconds),
                               two at a time; --install or CI=true may install cargo-fuzz
  ci [options] [--no-test]     run all checks: format, tidy, clippy, docs, features, tests
  ci --full [--server 14,16] [--battery] [--seconds N] [options]
                               run what takes too long for every change, and print one table: `ha`, the
                               tests on PostgreSQL 14, 16, 17 and 18, and `fuzz` for ten minutes a target
  tidy                         check crate borders, file sizes and names, compiler version
  docs [--install]             check the book, render it as HTML if mdbook is installed (--install gets
                               it), build the documentation, check the reference against the keys

options of test, demo, bench and ci:
  --postgres auto|docker|local|URL
                    the source of the servers. auto (the default): the programs on this machine,
                    otherwise Docker, if an engine answers and the image is there or can be pulled
                    in 30 s. A URL names an existing plain server
  --image NAME      the Docker image (default postgres:17)
  --install         may install the distribution's PostgreSQL if it is missing (as root, with
                    apt-get); CI=true allows it too";

const DEFAULT_IMAGE: &str = "postgres:17";

/// The task to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Help,
    Test(Options),
    Demo(Options),
    /// A primary with two standbys.
    DemoReaders,
    Bench(Options),
    Ha(Options),
    Standin(Options),
    Soak {
        options: Options,
        minutes: String,
    },
    Fuzz {
        seconds: u32,
        targets: Vec<String>,
        install: bool,
    },
    Ci {
        options: Options,
        tests: bool,
    },
    CiFull {
        options: Options,
        seconds: u32,
    },
    Tidy,
    Docs {
        install: bool,
    },
}

/// The options of tasks that need servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) postgres: Postgres,
    pub(crate) image: String,
    pub(crate) install: bool,
    /// The major versions to run on; empty: whatever is found.
    pub(crate) versions: Vec<u32>,
    pub(crate) battery: bool,
    /// All tests on the newest version, the battery on the others.
    pub(crate) everywhere: bool,
    pub(crate) filters: Vec<String>,
}

/// The source of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Postgres {
    Auto,
    Docker,
    Local,
    Url(String),
}

pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> anyhow::Result<Task> {
    let mut args = args.into_iter();
    let task = args.next().unwrap_or_else(|| "help".to_owned());
    let mut rest = Rest::read(args)?;
    let task = match task.as_str() {
        "help" | "--help" | "-h" => Task::Help,
        "test" => Task::Test(rest.with_versions()?),
        "demo" if rest.readers => rest.with_own_readers()?,
        "demo" => Task::Demo(rest.without_filters()?),
        "bench" => Task::Bench(rest.options()),
        "ha" => Task::Ha(rest.with_own_cluster()?),
        "standin" => Task::Standin(rest.with_local_programs()?),
        "soak" => Task::Soak {
            minutes: rest.minutes.take().unwrap_or_else(|| "2".to_owned()),
            options: rest.without_filters()?,
        },
        "fuzz" => Task::Fuzz {
            seconds: rest.seconds.take().unwrap_or(60),
            targets: std::mem::take(&mut rest.words),
            install: std::mem::take(&mut rest.install),
        },
        "ci" if rest.full => Task::CiFull {
            seconds: rest.seconds.take().unwrap_or(600),
            options: rest.with_all_servers()?,
        },
        "ci" => Task::Ci {
            tests: !std::mem::take(&mut rest.no_test),
            options: rest.without_filters()?,
        },
        "tidy" => rest.nothing(Task::Tidy)?,
        "docs" => {
            let install = std::mem::take(&mut rest.install);
            rest.nothing(Task::Docs { install })?
        }
        unknown => bail!("unknown task `{unknown}`"),
    };
    if rest.readers && task != Task::DemoReaders {
        bail!("--readers is an option of `demo`");
    }
    if rest.full && !matches!(task, Task::CiFull { .. }) {
        bail!("--full is an option of `ci`");
    }
    if rest.no_test {
        bail!("--no-test is an option of `ci`, without --full");
    }
    if rest.seconds.is_some() {
        bail!("--seconds is an option of `fuzz` and of `ci --full`");
    }
    if rest.postgres.is_some() || rest.image.is_some() {
        bail!("this task starts no servers");
    }
    if !rest.versions.is_empty() || rest.battery || rest.everywhere {
        bail!("--server and --battery are options of `test` and of `ci --full`");
    }
    if rest.minutes.is_some() {
        bail!("--minutes is an option of `soak`");
    }
    Ok(task)
}

#[derive(Default)]
struct Rest {
    postgres: Option<Postgres>,
    image: Option<String>,
    install: bool,
    versions: Vec<u32>,
    battery: bool,
    everywhere: bool,
    no_test: bool,
    full: bool,
    readers: bool,
    minutes: Option<String>,
    seconds: Option<u32>,
    words: Vec<String>,
}

impl Rest {
    fn read(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut rest = Self::default();
        while let Some(arg) = args.next() {
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (arg.as_str(), None),
            };
            let mut value = || {
                let value = inline.clone().or_else(|| args.next());
                value.with_context(|| format!("{name} needs a value"))
            };
            match name {
                "--postgres" => rest.postgres = Some(postgres(value()?)?),
                "--image" => rest.image = Some(value()?),
                "--install" => rest.install = true,
                "--server" => match value()?.as_str() {
                    "all" => rest.everywhere = true,
                    text => rest.versions = versions(text)?,
                },
                "--battery" => rest.battery = true,
                "--no-test" => rest.no_test = true,
                "--full" => rest.full = true,
                "--readers" => rest.readers = true,
                "--minutes" => rest.minutes = Some(minutes(value()?)?),
                "--seconds" => {
                    let text = value()?;
                    let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
                    rest.seconds =
                        Some(seconds.with_context(|| {
                            format!("--seconds must be a number, not `{text}`")
                        })?);
                }
                // The rest is for the test programs, as with `cargo test`.
                "--" => rest.words.extend(args.by_ref()),
                _ if name.starts_with('-') => bail!("unknown option `{name}`"),
                _ => rest.words.push(arg),
            }
        }
        Ok(rest)
    }

    fn options(&mut self) -> Options {
        Options {
            postgres: self.postgres.take().unwrap_or(Postgres::Auto),
            image: self
                .image
                .take()
                .unwrap_or_else(|| DEFAULT_IMAGE.to_owned()),
            install: std::mem::take(&mut self.install),
            versions: Vec::new(),
            battery: false,
            everywhere: false,
            filters: std::mem::take(&mut self.words),
        }
    }

    fn with_versions(&mut self) -> anyhow::Result<Options> {
        let options = Options {
            versions: std::mem::take(&mut self.versions),
            battery: std::mem::take(&mut self.battery),
            everywhere: std::mem::take(&mut self.everywhere),
            ..self.options()
        };
        if options.battery && options.versions.is_empty() {
            bail!("--battery needs --server with versions");
        }
        let starts_its_own = options.everywhere || !options.versions.is_empty();
        if starts_its_own && matches!(options.postgres, Postgres::Url(_)) {
            bail!("--server starts its own servers: leave --postgres URL out");
        }
        Ok(options)
    }

    /// As for `test --server`, with the versions left to the task.
    fn with_all_servers(&mut self) -> anyhow::Result<Options> {
        if matches!(self.postgres, Some(Postgres::Url(_))) {
            bail!("`ci --full` starts its own servers: leave --postgres URL out");
        }
        Ok(Options {
            versions: std::mem::take(&mut self.versions),
            battery: std::mem::take(&mut self.battery),
            ..self.without_filters()?
        })
    }

    fn with_own_cluster(&mut self) -> anyhow::Result<Options> {
        if self.postgres.is_some() || self.image.is_some() {
            bail!("`ha` starts its own cluster: leave --postgres and --image out");
        }
        Ok(self.options())
    }

    fn with_own_readers(&mut self) -> anyhow::Result<Task> {
        let is_local = matches!(self.postgres, None | Some(Postgres::Auto | Postgres::Local));
        if !is_local || self.image.is_some() {
            bail!("`demo --readers` copies a server with its own programs: --postgres local");
        }
        self.without_filters().map(|_| Task::DemoReaders)
    }

    fn with_local_programs(&mut self) -> anyhow::Result<Options> {
        if self.postgres.is_some() {
            bail!("`standin` uses the programs on this machine: leave --postgres out");
        }
        self.without_filters()
    }

    fn without_filters(&mut self) -> anyhow::Result<Options> {
        match self.words.first() {
            Some(word) => bail!("unexpected argument `{word}`"),
            None => Ok(self.options()),
        }
    }

    fn nothing(&mut self, task: Task) -> anyhow::Result<Task> {
        if self.postgres.is_some() || self.image.is_some() || self.install {
            bail!("this task starts no servers");
        }
        self.without_filters().map(|_| task)
    }
}

fn minutes(text: String) -> anyhow::Result<String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 => Ok(text),
        _ => bail!("--minutes must be a number, not `{text}`"),
    }
}

fn versions(text: &str) -> anyhow::Result<Vec<u32>> {
    let version = |part: &str| part.trim().parse().ok().filter(|version| *version >= 14);
    let versions = text.split(',').map(version).collect::<Option<Vec<u32>>>();
    versions.with_context(|| {
        format!(
            "--server must be versions of PostgreSQL from 14 on, as 14,16, or all, not `{text}`"
        )
    })
}

fn postgres(text: String) -> anyhow::Result<Postgres> {
    match text.as_str() {
        "auto" => Ok(Postgres::Auto),
        "docker" => Ok(Postgres::Docker),
        "local" => Ok(Postgres::Local),
        url if url.contains("://") => Ok(Postgres::Url(text)),
        _ => bail!("--postgres must be auto, docker, local or a URL, not `{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> anyhow::Result<Task> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_come_in_both_spellings_and_any_order() {
        let expected = Task::Test(Options {
            postgres: Postgres::Local,
            image: "postgres:16".into(),
            install: true,
            versions: Vec::new(),
            battery: false,
            everywhere: false,
            filters: vec!["pool".into(), "cache".into()],
        });
        let line = "test pool --postgres local --image=postgres:16 cache --install";
        assert_eq!(parsed(line).unwrap(), expected);
    }

    #[test]
    fn all_versions_can_be_meant() {
        let Task::Test(options) = parsed("test --server all").unwrap() else {
            panic!("another task");
        };
        assert!(options.everywhere && options.versions.is_empty());
    }

    #[test]
    fn several_versions_can_be_named() {
        let Task::Test(options) = parsed("test --server 14,16 --battery roles").unwrap() else {
            panic!("another task");
        };
        assert_eq!((options.versions, options.battery), (vec![14, 16], true));
        assert_eq!(options.filters, ["roles"]);
    }

    #[test]
    fn scenarios_can_be_named() {
        let Task::Ha(options) = parsed("ha kill --install cut").unwrap() else {
            panic!("another task");
        };
        assert_eq!((options.filters.len(), options.install), (2, true));
    }

    #[test]
    fn a_standin_has_the_name_of_the_image() {
        let Task::Standin(options) = parsed("standin --image postgres:16").unwrap() else {
            panic!("another task");
        };
        assert_eq!(options.image, "postgres:16");
    }

    #[test]
    fn what_follows_two_dashes_goes_to_the_test_programs() {
        let Task::Test(options) = parsed("test tls -- --nocapture").unwrap() else {
            panic!("another task");
        };
        assert_eq!(options.filters, ["tls", "--nocapture"]);
    }

    #[test]
    fn the_defaults_are_auto_and_the_newest_tested_image() {
        let Task::Demo(options) = parsed("demo").unwrap() else {
            panic!("not a demo");
        };
        assert_eq!(options.postgres, Postgres::Auto);
        assert_eq!(options.image, DEFAULT_IMAGE);
    }

    #[test]
    fn a_url_is_told_from_a_word() {
        let Task::Ci { options, tests } = parsed("ci --postgres postgres://u:p=w@h/d").unwrap()
        else {
            panic!("not ci");
        };
        let url = Postgres::Url("postgres://u:p=w@h/d".into());
        assert_eq!((options.postgres, tests), (url, true));
        assert!(parsed("ci --postgres dokcer").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "tset",
            "test --no-test",
            "test --server 9.6",
            "test --server 16,",
            "test --server all --battery",
            "test --server all --postgres postgres://h/d",
            "ci --server all",
            "test --battery",
            "test --server 16 --postgres postgres://h/d",
            "demo --server 16",
            "demo --readers --postgres docker",
            "test --readers",
            "test --postgres",
            "test --imagine x",
            "tidy --install",
            "tidy now",
            "demo now",
            "demo --minutes 1",
            "test --full",
            "ci --full --no-test",
            "ci --server 14",
            "ci --full now",
            "ci --full --postgres postgres://h/d",
            "ha --postgres docker",
            "standin --postgres local",
            "standin now",
            "soak --minutes long",
            "soak --minutes -1",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn docs_may_install_its_renderer() {
        assert_eq!(parsed("docs").unwrap(), Task::Docs { install: false });
        let installing = Task::Docs { install: true };
        assert_eq!(parsed("docs --install").unwrap(), installing);
        assert!(parsed("docs --postgres local").is_err());
    }

    #[test]
    fn fuzz_takes_a_time_and_targets() {
        let Task::Fuzz {
            seconds,
            targets,
            install,
        } = parsed("fuzz csv --seconds 5 hba").unwrap()
        else {
            panic!("another task");
        };
        assert_eq!((seconds, install), (5, false));
        assert_eq!(targets, ["csv", "hba"]);
        for line in [
            "fuzz --seconds 0",
            "fuzz --seconds x",
            "fuzz --postgres local",
            "ci --seconds 5",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_long_checks_have_their_own_options() {
        let Task::CiFull { options, seconds } = parsed("ci --full --server 14 --battery").unwrap()
        else {
            panic!("another task");
        };
        assert_eq!((options.versions, options.battery), (vec![14], true));
        assert_eq!(seconds, 600);
    }

    #[test]
    fn no_task_asks_for_help() {
        assert_eq!(parsed("").unwrap(), Task::Help);
    }
}
