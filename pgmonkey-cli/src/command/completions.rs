//! `pgmonkey completions SHELL` and `pgmonkey man`.

use std::io;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::command::args;
use crate::error::Error;
use crate::ui::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey completions bash > /etc/bash_completion.d/pgmonkey
  pgmonkey completions zsh > ~/.zfunc/_pgmonkey
  pgmonkey completions fish > ~/.config/fish/completions/pgmonkey.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey man | man -l -
  pgmonkey man > /usr/local/share/man/man1/pgmonkey.1")]
pub(crate) struct Man {}

impl Completions {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        // Rendered to memory first: the generator panics on a write error.
        let mut text = Vec::new();
        let mut command = args::Args::command();
        clap_complete::generate(self.shell, &mut command, "pgmonkey", &mut text);
        out.writer().write_all(&text).map_err(Error::print)
    }
}

impl Man {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let mut text = Vec::new();
        page(args::Args::command(), &mut text).map_err(Error::print)?;
        out.writer().write_all(&text).map_err(Error::print)
    }
}

/// One page: the program, then every command under its full name with its options.
fn page(mut command: clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    // Without a display name a command would appear as `pgmonkey-config-create`.
    command.build();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    man.render_extra_section(text)?;
    commands(&command, "pgmonkey", text)?;
    man.render_version_section(text)
}

fn commands(command: &clap::Command, path: &str, text: &mut Vec<u8>) -> io::Result<()> {
    let shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    for sub in command.get_subcommands().filter(shown) {
        let path = format!("{path} {}", sub.get_name());
        if sub.has_subcommands() {
            commands(sub, &path, text)?;
            continue;
        }
        text.extend_from_slice(format!(".SH \"{}\"\n", path.to_uppercase()).as_bytes());
        let man = clap_mangen::Man::new(sub.clone());
        man.render_synopsis_section(text)?;
        man.render_description_section(text)?;
        man.render_options_section(text)?;
        man.render_extra_section(text)?;
    }
    Ok(())
}
