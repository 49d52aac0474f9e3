//! Adds libpq's own sources as the weakest layers: the service file and the `PG*` variables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::{Dict, Value};

use super::Assembly;
use crate::error::{Place, Problem, ProblemKind};
use crate::load::extract::value::flag_of;
use crate::redact::suspicion;
use crate::schema::keys;
use crate::source::environment;
use crate::source::layer::{Layer, Origin, connection_path};
use crate::source::{libpq, service};

impl Assembly<'_> {
    pub(super) fn uses_libpq(&self) -> bool {
        let flag = self.merged.get("libpq_sources").and_then(flag_of);
        flag.unwrap_or(self.loader.libpq_sources)
    }

    pub(super) fn merged_text(&self, name: &str) -> Option<String> {
        let section = self.merged.get("connection_settings")?.as_dict()?;
        section.get(name)?.as_str().map(str::to_owned)
    }

    pub(super) fn add_service(&mut self) {
        let own = self.merged_text("service");
        let variable = self.variables.value("PGSERVICE");
        let from_variable = variable.filter(|name| !name.is_empty());
        let Some(name) = own.clone().or(from_variable) else {
            return;
        };
        match self.read_service(&name) {
            Ok(layer) => self.add(layer),
            Err(kind) => {
                let kind = self.without_references(kind);
                let path = connection_path("service");
                let problem = match own {
                    Some(_) => self.problem(path, kind),
                    None => {
                        let place = Place::Variable("PGSERVICE".to_owned());
                        Problem::new(place, path.join("."), kind)
                    }
                };
                self.findings.problems.push(problem);
            }
        }
    }

    /// Removes the names of the service and its file from an error if one came from a reference.
    fn without_references(&self, kind: ProblemKind) -> ProblemKind {
        let mut keys = ["service", "servicefile"].map(connection_path).into_iter();
        if !keys.any(|key| self.written(&key).is_some()) {
            return kind;
        }
        let reason = "the service that the reference names cannot be read; check the value, the \
                      service file and its permissions";
        ProblemKind::Reference(reason.to_owned())
    }

    fn read_service(&self, name: &str) -> Result<Layer, ProblemKind> {
        if suspicion::is_connection_string(name) {
            return Err(ProblemKind::Conflict(suspicion::ADVICE.to_owned()));
        }
        let file = self.merged_text("servicefile");
        if file.is_some_and(|file| suspicion::is_connection_string(&file)) {
            let reason = format!("servicefile must be a path; {}", suspicion::ADVICE);
            return Err(ProblemKind::Conflict(reason));
        }
        let lookup = |name: &str| self.variables.value(name);
        let file = self.merged_text("servicefile").map(PathBuf::from);
        let files = service::find_files(&lookup, file.as_deref());
        for file in &files {
            let found = service::read(file, name)
                .map_err(|error| ProblemKind::Unreadable(error.to_string()))?;
            let Some(parts) = found else {
                continue;
            };
            let parts = parts.into_iter();
            let dict = parts.map(|(key, text)| (key, Value::from(text))).collect();
            let origin = Origin::Service {
                path: file.path.clone(),
                name: name.to_owned(),
            };
            let layer = Layer::of_connection(origin, dict);
            return Ok(match self.of_readers {
                true => layer.of_readers(),
                false => layer,
            });
        }
        let searched: Vec<String> = files.iter().map(|f| f.path.display().to_string()).collect();
        let files = searched.join(" or ");
        let reason = format!("no service `{name}` in {files}; correct the name or add the service");
        Err(ProblemKind::Reference(reason))
    }

    pub(super) fn add_libpq(&mut self) {
        let variables = self.variables;
        let lookup = |name: &str| variables.value(name);
        let mut names = BTreeMap::new();
        let mut connection = Dict::new();
        let refused = environment::refused(&lookup);
        for (key, text, variable) in libpq::variables(&lookup).into_iter().chain(refused) {
            connection.insert(key.to_owned(), Value::from(text));
            names.insert(connection_path(key), variable.to_owned());
        }
        let mut dict = Dict::from([("connection_settings".to_owned(), Value::from(connection))]);
        for section in keys::SESSION_SECTIONS {
            let mut parameters = Dict::new();
            for (name, text, variable) in libpq::session_variables(&lookup) {
                parameters.insert(name.to_owned(), Value::from(text));
                names.insert(
                    vec![section.to_owned(), name.to_owned()],
                    variable.to_owned(),
                );
            }
            dict.insert(section.to_owned(), Value::from(parameters));
        }
        self.add(Layer::new(Origin::Variables(names), dict));
    }
}
