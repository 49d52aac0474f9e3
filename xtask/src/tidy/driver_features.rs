//! Features of the drivers that a program cannot switch on through our crates.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use cargo_metadata::{Metadata, Package};

/// Their features are those that a program on the bare drivers has.
const DRIVERS: [&str; 3] = ["postgres", "postgres-types", "tokio-postgres"];
/// Each has all of the features, so that it is usable alone.
const OURS: [&str; 3] = ["pgmonkey", "pgmonkey-async", "pgmonkey-sync"];
const PAGE: &str = "docs/types.md";
/// The section with those that are left out, and why.
const SECTION: &str = "\n## Features of the drivers that are left out\n";

/// Compares the drivers of Cargo.lock, our manifests and the page.
pub(super) fn differences(root: &Path, metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let left_out = left_out(&text).with_context(|| format!("{PAGE}: no section {SECTION:?}"))?;
    let named = |names: &[&str]| {
        let packages = metadata.packages.iter();
        let packages = packages.filter(|package| names.contains(&package.name.as_str()));
        packages.collect::<Vec<_>>()
    };
    let (drivers, ours) = (named(&DRIVERS), named(&OURS));
    ensure!(
        drivers.len() == DRIVERS.len() && ours.len() == OURS.len(),
        "a driver is missing, or is there in two versions: {}",
        drivers
            .iter()
            .map(|p| p.id.repr.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    let wanted: BTreeSet<&str> = drivers.iter().flat_map(|p| features(p)).collect();
    let ours = ours.iter().map(|p| (p.name.as_str(), features(p)));
    Ok(ours
        .flat_map(|(name, features)| compare(name, &features, &wanted, &left_out))
        .collect())
}

/// Without those that cargo makes of optional dependencies.
fn features(package: &Package) -> BTreeSet<&str> {
    let features = package.features.iter();
    let written = features.filter(|(name, list)| **list != [format!("dep:{name}")]);
    let names = written.map(|(name, _)| name.as_str());
    names.filter(|name| *name != "default").collect()
}

/// What one of our crates lacks, and what the page says of it that is not so.
fn compare(
    name: &str,
    features: &BTreeSet<&str>,
    wanted: &BTreeSet<&str>,
    left_out: &BTreeSet<&str>,
) -> Vec<String> {
    let missing = wanted
        .iter()
        .filter(|f| !features.contains(*f) && !left_out.contains(*f));
    let missing = missing
        .map(|f| format!("{name} lacks the drivers' feature {f}, and {PAGE} does not say why"));
    let stale = left_out
        .iter()
        .filter(|f| features.contains(*f) || !wanted.contains(*f));
    let stale = stale
        .map(|f| format!("{PAGE} leaves out {f}, which {name} has or the drivers do not have"));
    missing.chain(stale).collect()
}

/// The names in the first column of the section's table.
fn left_out(page: &str) -> Option<BTreeSet<&str>> {
    let (_, section) = page.split_once(SECTION)?;
    let section = section.split("\n## ").next()?;
    let cells = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    Some(
        cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Types\n\n| `a` | `b` |\n\n## Features of the drivers that are left out\n\n\
                        | feature | why |\n|---|---|\n| `with-a-1`, `js` | `x` |\n\n## Next\n\n| `c` | |\n";

    #[test]
    fn the_page_names_what_is_left_out() {
        assert_eq!(left_out(PAGE), Some(BTreeSet::from(["js", "with-a-1"])));
        assert_eq!(left_out("# Types\n"), None);
    }

    #[test]
    fn a_feature_is_there_or_left_out_with_a_reason() {
        let left_out = left_out(PAGE).unwrap();
        let check = |features: &[&str], wanted: &[&str]| {
            let features = features.iter().copied().collect();
            compare(
                "ours",
                &features,
                &wanted.iter().copied().collect(),
                &left_out,
            )
        };
        let wanted = ["js", "with-a-1", "with-a-2"];
        assert_eq!(check(&["tls", "with-a-2"], &wanted), [""; 0]);
        let lacks = check(&["tls"], &wanted);
        assert!(
            lacks[0].contains("lacks the drivers' feature with-a-2"),
            "{lacks:?}"
        );
        let has = check(&["with-a-1", "with-a-2"], &wanted);
        assert!(has[0].contains("leaves out with-a-1"), "{has:?}");
        let gone = check(&["with-a-2"], &["with-a-1", "with-a-2"]);
        assert!(gone[0].contains("leaves out js"), "{gone:?}");
    }
}
