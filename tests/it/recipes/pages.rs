//! The configuration files in the book and the README are valid.

use std::path::Path;

use pgmonkey::Config;
use pgmonkey::config::ProblemKind;
use pgmonkey_tests::Outcome;

/// The YAML blocks of a page that are configuration files.
fn files(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```yaml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().expect("there is a first"));
    blocks.filter(|block| block.contains("connection_settings"))
}

/// The problems of a file, except for secrets and variables that this machine lacks.
fn wrong(file: &str) -> Vec<String> {
    let loader = Config::loader().yaml(file).allow_commands(true);
    match loader.libpq_sources(false).load() {
        Ok(_) => Vec::new(),
        Err(error) => error
            .problems()
            .iter()
            .filter(|problem| !matches!(problem.kind, ProblemKind::Reference(_)))
            .map(ToString::to_string)
            .collect(),
    }
}

#[test]
fn every_configuration_file_loads() -> Outcome {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs", "docs/deployment"] {
        for entry in std::fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            pages.extend(Some(path).filter(|path| path.extension().is_some_and(|e| e == "md")));
        }
    }
    let mut loaded = 0;
    for page in pages {
        for file in files(&std::fs::read_to_string(&page)?) {
            let wrong = wrong(file);
            assert!(wrong.is_empty(), "{}: {wrong:?}\n{file}", page.display());
            loaded += 1;
        }
    }
    assert!(loaded >= 30, "{loaded}");
    Ok(())
}

#[test]
fn a_wrong_file_is_noticed() {
    let page = "```yaml\nconnection_settings: { hots: db, password: { from_file: /nowhere } }\n```";
    let found: Vec<_> = files(page).flat_map(wrong).collect();
    assert!(
        found.len() == 1 && found[0].contains("did you mean `host`?"),
        "{found:?}"
    );
}

/// The tests that a page names, as `module::name`, each with the file it should be in.
fn tests_named(page: &str) -> impl Iterator<Item = (String, &str)> {
    let quoted = page.split('`').skip(1).step_by(2);
    let is_path = |text: &&str| {
        let is_name = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c == '_' || c.is_ascii_lowercase())
        };
        text.contains("::") && text.split("::").all(is_name)
    };
    quoted.filter(is_path).filter_map(|path| {
        let (module, name) = path.rsplit_once("::")?;
        Some((format!("tests/it/{}.rs", module.replace("::", "/")), name))
    })
}

#[test]
fn the_tests_that_the_deployments_name_exist() -> Outcome {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut named = 0;
    for entry in std::fs::read_dir(root.join("docs/deployment"))? {
        let page = entry?.path();
        for (file, name) in tests_named(&std::fs::read_to_string(&page)?) {
            let text = std::fs::read_to_string(root.join(&file)).unwrap_or_default();
            let exists = text.contains(&format!("fn {name}("));
            assert!(exists, "{}: no {name} in {file}", page.display());
            named += 1;
        }
    }
    assert!(named >= 20, "{named}");
    Ok(())
}
