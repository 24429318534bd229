//! A Prometheus of the tests' own, and what it is asked.
#![allow(dead_code, reason = "each test binary uses its own part")]

use crate::harness::until;
use crate::system::client::Client;
use crate::system::namespaces::Namespaces;
use crate::system::peer::Peer;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub struct Prometheus(Peer);

/// The labels of a series with its value.
pub type Vector = BTreeMap<BTreeMap<String, String>, f64>;

impl Prometheus {
    /// Starts one in namespaces of the test's, where its port is free, and waits until it answers. What it keeps goes into
    /// the directory.
    pub fn start(namespaces: &Namespaces, config: &str, directory: &Path) -> Prometheus {
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config).expect("a file");
        let mut command = namespaces.command("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:9090");
        let prometheus = Prometheus(Peer::start(command));
        until("Prometheus is ready", || {
            let client = Client::try_connect(prometheus.0.address());
            client.is_ok_and(|mut client| client.try_get("/-/ready").is_ok())
        });
        prometheus
    }

    /// The data of an answer.
    pub fn ask(&self, path: &str) -> Value {
        let answer = Client::connect(self.0.address())
            .try_get(path)
            .map(|body| serde_json::from_slice::<Value>(body).expect("JSON"));
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// What a query gives now.
    pub fn query(&self, query: &str) -> Vector {
        let data = self.ask(&format!("/api/v1/query?query={}", quoted(query)));
        let result = data["result"].as_array().expect("a vector");
        let series = result.iter().map(|one| {
            let labels = one["metric"].as_object().expect("labels").iter();
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let labels = labels.map(|(name, value)| (name.clone(), text(value))).collect();
            (labels, text(&one["value"][1]).parse().expect("a number"))
        });
        series.collect()
    }

    /// The value of a query that gives one.
    pub fn one(&self, query: &str) -> Option<f64> {
        // A test that waits for a value asks again and again, and what is waited for needs the processors.
        std::thread::sleep(Duration::from_millis(50));
        let result = self.query(query);
        assert!(result.len() <= 1, "{query}: {result:?}");
        result.into_values().next()
    }

    pub fn rules(&self) -> Vec<Value> {
        let data = self.ask("/api/v1/rules");
        let groups = data["groups"].as_array().expect("groups");
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
    }
}

/// A text as a part of an address.
pub fn quoted(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
