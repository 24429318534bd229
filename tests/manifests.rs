//! What is shipped to run the container with, for compose and for Kubernetes: each gives it what README says, its
//! parts fit each other, and its configuration is one. What it does with that `system_container.rs` shows.

mod harness;

use harness::root;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value, json};
use std::fs;
use std::process::Command;

fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A file of YAML that has one document and no aliases, as JSON.
fn yaml(path: &str) -> Value {
    /// A list or a map that has not ended, and the key of the map whose value is awaited.
    enum Open {
        List(Vec<Value>),
        Map(Map<String, Value>, Option<String>),
    }
    let text = file(path);
    let mut parser = Parser::new_from_str(&text);
    let (mut open, mut whole) = (Vec::new(), Value::Null);
    while let Some(event) = parser.next_event() {
        let value = match event.unwrap_or_else(|error| panic!("{path}: {error}")).0 {
            Event::Scalar(text, ScalarStyle::Plain, ..) => {
                serde_json::from_str(&text).unwrap_or_else(|_| Value::from(&*text))
            }
            Event::Scalar(text, ..) => Value::from(&*text),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop().expect("it has begun") {
                Open::List(items) => Value::Array(items),
                Open::Map(entries, _) => Value::Object(entries),
            },
            Event::Alias(_) => panic!("{path}: an alias"),
            _ => continue,
        };
        match open.last_mut() {
            None => whole = value,
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map(entries, key)) => match key.take() {
                None => *key = Some(value.as_str().expect("a key is a text").to_owned()),
                Some(key) => assert!(entries.insert(key, value).is_none(), "{path}: a key twice"),
            },
        }
    }
    whole
}

/// The configuration with its defaults, as the daemon understands it.
fn effective(config: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    fs::write(&path, config).expect("a file");
    let mut command = Command::new(harness::binary());
    let (status, out, err) =
        harness::output(command.args(["config", "--effective", "--config"]).arg(&path));
    assert_eq!(status, 0, "{err}");
    // Where each value stands is another place in each.
    let lines = out.lines().map(|line| line.rsplit_once("  # ").map_or(line, |(value, _)| value));
    lines.fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// The options of `podman run` that README gives.
fn options_of_readme() -> Vec<String> {
    let text = file("README.md").replace("\\\n", " ");
    let line =
        text.lines().find_map(|line| line.trim().strip_prefix("podman run -d --name vitald "));
    let line =
        line.expect("how to run it").replace("-v ", "--volume=").replace("--user ", "--user=");
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn compose_gives_the_container_what_readme_says() {
    let compose = yaml("deploy/compose/compose.yaml");
    let service = &compose["services"]["vitald"];
    let said = |option: &str| match option.trim_start_matches("--").split_once('=') {
        None if option == "--read-only" => service["read_only"] == true,
        Some(("user", user)) => service["user"].as_str() == Some(&format!("{user}:{user}")),
        Some(("cap-drop", "all")) => service["cap_drop"] == json!(["ALL"]),
        Some(("security-opt", of)) => service["security_opt"] == json!([format!("{of}:true")]),
        Some(("network", of)) => service["network_mode"] == of,
        Some((key @ ("pid" | "uts"), of)) => service[key] == of,
        Some(("volume", volume)) => {
            service["volumes"].as_array().is_some_and(|all| all.contains(&volume.into()))
        }
        // The image's name.
        None => {
            service["image"].as_str().is_some_and(|image| image.ends_with(&format!("{option}}}")))
        }
        _ => false,
    };
    let options = options_of_readme();
    assert_eq!(options.len(), 9, "{options:?}");
    for option in &options {
        assert!(said(option), "{option} is not in {service}");
    }
    assert_eq!(service["tmpfs"], json!(["/run/vitald:mode=1777"]));
    // The image has one; said once, it is changed once.
    assert!(
        service["healthcheck"].is_null() && file("deploy/Containerfile").contains("HEALTHCHECK")
    );
    // The comment of the Containerfile is the same line.
    let containerfile = file("deploy/Containerfile").replace("\\\n#", " ");
    assert!(options.iter().all(|option| {
        let option = option.replace("--volume=", "-v ").replace("--user=", "--user ");
        containerfile.contains(&option)
    }));
}

#[test]
fn their_configurations_differ_from_the_images_in_the_socket_alone() {
    let shipped = file("deploy/container.toml");
    let image = effective(&shipped);
    // What the image's own says of how to have the socket.
    let commented = shipped.lines().find_map(|line| line.strip_prefix("#   listen = ["));
    let listen = format!("\nlisten = [{}", commented.expect("how to have a socket"));
    let with_socket = shipped.replace("\nlisten = [\":9100\"]", &listen);
    assert_ne!(with_socket, shipped);
    let map = yaml("deploy/kubernetes/configmap.yaml");
    let of_map = map["data"]["config.toml"].as_str().expect("a configuration").to_owned();
    let with_socket = effective(&with_socket);
    let [with, without] = [&with_socket, &image]
        .map(|text| text.lines().filter(|line| !line.starts_with("listen = ")).collect::<Vec<_>>());
    assert_eq!(with, without);
    assert!(
        with.contains(&"procfs = \"/host/proc\"") && with.contains(&"admin = \"off\""),
        "{with:?}"
    );
    // `admin` holds for an address of the environment (`VITALD__SERVER__LISTEN`), too.
    for config in [file("deploy/compose/vitald/config.toml"), of_map] {
        assert_eq!(effective(&config), with_socket);
    }
}

#[test]
fn the_parts_for_kubernetes_fit_each_other() {
    let [daemons, map, monitor] = ["daemonset", "configmap", "podmonitor"]
        .map(|name| yaml(&format!("deploy/kubernetes/{name}.yaml")));
    for part in [&daemons, &map, &monitor] {
        assert_eq!(part["metadata"], daemons["metadata"]);
    }
    let (selector, template) = (&daemons["spec"]["selector"], &daemons["spec"]["template"]);
    assert_eq!(selector["matchLabels"], template["metadata"]["labels"]);
    assert_eq!(monitor["spec"]["selector"], *selector);

    let pod = &template["spec"];
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert!(pod["hostPID"] == true && pod["hostNetwork"] == true, "{pod}");
    let security = &pod["securityContext"];
    assert!(security["runAsNonRoot"] == true && security["runAsUser"] == 65534, "{security}");
    let container = &pod["containers"][0];
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    });
    assert_eq!(container["securityContext"], expected);
    // With the network of the host they are one port.
    let port = &container["ports"][0];
    assert_eq!((&port["containerPort"], &port["hostPort"]), (&json!(9100), &json!(9100)));
    let port = &container["ports"][0]["name"];
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], *port);
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": port }));
    }
    // The reload of the comment finds the pods.
    let label = "app.kubernetes.io/name=vitald";
    assert_eq!(template["metadata"]["labels"], json!({ "app.kubernetes.io/name": "vitald" }));
    assert!(file("deploy/kubernetes/configmap.yaml").contains(&format!("-l {label} -o name")));

    let volumes = pod["volumes"].as_array().expect("volumes");
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    let of = |name: &str| {
        let named = |all: &[Value]| all.iter().find(|one| one["name"] == name).cloned();
        named(volumes).zip(named(mounts)).unwrap_or_else(|| panic!("{name} is not mounted"))
    };
    assert_eq!((volumes.len(), mounts.len()), (3, 3));
    let (root, at) = of("root");
    assert_eq!((&root["hostPath"]["path"], &at["mountPath"]), (&json!("/"), &json!("/host")));
    assert!(at["readOnly"] == true && at["mountPropagation"] == "HostToContainer", "{at}");
    let (config, at) = of("config");
    assert_eq!(
        (&config["configMap"]["name"], &at["mountPath"]),
        (&map["metadata"]["name"], &json!("/etc/vitald"))
    );
    assert!(at["readOnly"] == true && at["subPath"].is_null(), "{at}");
    let (run, at) = of("run");
    assert!(run["emptyDir"].is_object() && at["mountPath"] == "/run/vitald", "{run} {at}");
}
