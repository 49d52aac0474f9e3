//! The section `readers`: its tree is that of the file with the section laid over it.

use std::collections::BTreeMap;

use super::{Assembly, Settled, SharedSections};
use crate::error::Place;
use crate::load::extract;
use crate::load::validate;
use crate::model::config::Config;
use crate::model::readers::Readers;
use crate::schema::choice::{LoadBalanceHosts, TargetSessionAttrs};
use crate::schema::keys;
use crate::source::layer::{Layer, Origin, connection_path, key_path};

/// Where the servers are: the writer's keys are not mixed with those of the section.
const SERVERS: [&str; 3] = ["host", "hostaddr", "port"];

/// Which servers are used, and in which order: a writer's role is not that of its readers.
const ROLE: [&str; 2] = ["target_session_attrs", "load_balance_hosts"];

impl Assembly<'_> {
    /// Reads the readers' settings from the layers of the section and, below them, those of the
    /// writer.
    pub(super) fn readers(
        &mut self,
        layers: Vec<Layer>,
        writer: &Settled<'_>,
        sources: &mut BTreeMap<String, Place>,
    ) -> Readers {
        let mut tree = Assembly::new(self.loader, self.variables);
        tree.of_readers = true;
        tree.resolves = self.resolves;
        std::mem::swap(&mut tree.findings, &mut self.findings);
        for layer in layers {
            tree.add(layer);
        }
        let shared = tree.inherit(self, writer.own);
        let (mut settings, mut found) = tree.settle(&shared, Some(writer));
        let connection = &mut settings.connection_settings;
        if !tree.sets("target_session_attrs") {
            connection.target_session_attrs = TargetSessionAttrs::PreferStandby;
        }
        if !tree.sets("load_balance_hosts") {
            connection.load_balance_hosts = LoadBalanceHosts::Random;
        }
        // A problem of what it inherits is reported for the writer.
        found.retain(|problem| !tree.inherits(&problem.0) || !writer.found.contains(problem));
        let (max_lag, fallback, problems) = extract::readers(&tree.merged);
        found.extend(problems);
        let lag = max_lag.and_then(validate::lag_problem);
        found.extend(lag.map(|kind| (vec!["max_lag".to_owned()], kind)));
        if self.tells_sources {
            sources.extend(tree.sources_of_readers(&shared));
        }
        self.findings = tree.report(found);
        Readers {
            config: Config::checked(settings),
            max_lag,
            fallback,
        }
    }

    /// Merges the writer's layers below those of the section, without what does not carry over.
    fn inherit(&mut self, writer: &Assembly<'_>, own: usize) -> SharedSections {
        let own_servers = self.sets_servers();
        let own_service = writer.uses_libpq()
            && ["service", "servicefile"].iter().any(|key| {
                let named = self.merged_text(key);
                named.is_some() && named != writer.merged_text(key)
            });
        let (files, libpq) = writer.layers.split_at(own);
        let mut dropped = ROLE.to_vec();
        if own_servers || own_service {
            dropped.extend(SERVERS);
        }
        for layer in files {
            self.lay_under(layer.clone(), &dropped);
        }
        let shared = SharedSections::of(&self.merged);
        if own_service {
            self.add_service();
        }
        let own_servers = own_servers || self.sets_servers();
        for layer in libpq {
            let mut dropped = ROLE.to_vec();
            if own_servers {
                dropped.extend(match layer.origin {
                    // `PGPORT` is the default for every server.
                    Origin::Variables(_) => &SERVERS[..2],
                    _ => &SERVERS,
                });
            }
            self.lay_under(layer.clone(), &dropped);
        }
        shared
    }

    fn lay_under(&mut self, mut layer: Layer, dropped: &[&str]) {
        if let Some(dict) = layer.connection() {
            dict.retain(|name, _| !dropped.contains(&name.as_str()));
        }
        layer.drop_overridden_secrets(&self.merged);
        layer.drop_overridden_parameters(&self.merged);
        self.push(layer);
    }

    /// Whether the section, or the service that it names, sets the key.
    fn sets(&self, key: &str) -> bool {
        !self.inherits(&connection_path(key))
    }

    fn sets_servers(&self) -> bool {
        self.sets("host") || self.sets("hostaddr")
    }

    /// Returns the places of the values. Those of the writer are told as those of its sections.
    fn sources_of_readers(&self, shared: &SharedSections) -> BTreeMap<String, Place> {
        let of_section = |(key, place): (String, Place)| {
            let path = key_path(&key);
            let place = match place {
                place if !self.inherits(&path) => place,
                // The keys of the top level are the same for both.
                _ if path.len() == 1 => return None,
                place @ (Place::File { .. } | Place::Text { .. }) => Place::Section {
                    name: keys::find("", &path[0])?.name,
                    place: Box::new(place),
                },
                place => place,
            };
            Some((format!("{}.{key}", keys::READERS), place))
        };
        let sources = self.sources(shared).into_iter();
        sources.filter_map(of_section).collect()
    }
}
