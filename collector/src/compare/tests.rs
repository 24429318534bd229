use super::*;
use expect_test::{Expect, expect};
use std::time::Duration;
use vitald_core::pattern::Pattern;

/// Compares rounds of three pages: the peer's before, ours, the peer's after.
fn compared(ignored: &[&str], rounds: &[[&str; 3]]) -> Comparison {
    let ignored = ignored.iter().map(|pattern| Pattern::new(pattern).expect("a pattern")).collect();
    let mut comparison = Comparison::new(Rules { tolerance: 0.01, ignored });
    for round in rounds {
        let [before, here, after] =
            round.map(|text| Page::parse(text.as_bytes()).expect("the text format"));
        comparison.add(&before, &here, &after);
    }
    comparison
}

fn about() -> About {
    About {
        peer: "P".to_owned(),
        here: "H".to_owned(),
        took: Duration::ZERO,
        failed_rounds: 0,
        first_failure: None,
        notes: Vec::new(),
    }
}

/// What is found, without the first lines, which say what was compared.
fn found(comparison: &Comparison) -> String {
    let text = Report::new(comparison, about()).text();
    let rest = text.split_once(" s\n").expect("the rounds").1;
    rest.trim_start_matches('\n').to_owned()
}

fn finds(rounds: &[[&str; 3]], expected: &Expect) {
    expected.assert_eq(&found(&compared(&[], rounds)));
}

/// The same page three times on both sides.
fn steady<'a>(there: &'a str, here: &'a str) -> [[&'a str; 3]; 3] {
    [[there, here, there]; 3]
}

const EQUAL: &str = "They are equal.\n";

#[test]
fn equal_pages_are_equal() {
    let there =
        "# HELP a Text.\n# TYPE a counter\na{x=\"1\",y=\"\"} 5\nb NaN\n# TYPE c gauge\nc +Inf\n";
    let here =
        "# TYPE c gauge\nc +Inf\n# HELP a Another.\n# TYPE a counter\na{x=\"1\"} 5 1700\nb NaN\n";
    assert_eq!(found(&compared(&[], &steady(there, here))), EQUAL);
}

#[test]
fn what_one_side_lacks_is_found() {
    let there = "a{x=\"1\"} 1\na{x=\"2\"} 1\nonly_there{x=\"\\\"\\n\"} 1\n";
    finds(
        &steady(there, "a{x=\"2\"} 1\nonly_here 1\n"),
        &expect![[r#"
            missing here: 2 series in 2 families
              a: 1 of 2
                a{x="1"}
              only_there: 1 of 1
                only_there{x="\"\n"}

            only here: 1 series in 1 family
              only_here: 1 of 1
                only_here

            They differ in 3 families, 3 series.
        "#]],
    );
}

#[test]
fn many_series_are_counted() {
    let all: String = (1..=5).map(|x| format!("a{{x=\"{x}\"}} 1\n")).collect();
    finds(
        &steady(&all, "a{x=\"3\"} 1\n"),
        &expect![[r#"
            missing here: 4 series in 1 family
              a: 4 of 5
                a{x="1"}
                a{x="2"}
                a{x="4"}
                and 1 more

            They differ in 1 family, 4 series.
        "#]],
    );
    let json = Report::new(&compared(&[], &steady(&all, "")), about()).json();
    assert_eq!(json["differences"][0]["shown"].as_array().map(Vec::len), Some(5));
}

#[test]
fn another_type_is_found() {
    let (there, here) = ("# TYPE a counter\na 1\n", "# TYPE a gauge\na 1\n");
    finds(
        &steady(there, here),
        &expect![[r#"
            of another type: 1 family
              a: gauge here, counter there

            They differ in 1 family, 0 series.
        "#]],
    );
}

#[test]
fn a_counter_must_be_between_the_pages_of_the_peer() {
    let page = |value: u32| format!("# TYPE a counter\na {value}\n");
    let [five, seven, eight, nine] = [5, 7, 8, 9].map(page);
    assert_eq!(found(&compared(&[], &[[&five, &seven, &nine]])), EQUAL);
    // After a reset, too.
    assert_eq!(found(&compared(&[], &[[&nine, &seven, &five]])), EQUAL);
    // Once is enough: a counter that goes back is a reset to Prometheus.
    let good = [&five[..], &seven, &nine];
    finds(
        &[good, [&seven, &five, &eight], good, good],
        &expect![[r#"
            counters that disagree: 1 series in 1 family
              a: 1 of 1
                a: 5 here, between 7 and 8 there (in round 2 of 4)

            They differ in 1 family, 1 series.
        "#]],
    );
}

#[test]
fn a_counter_that_is_a_figure_of_now_may_fall() {
    let page = |value: u32| {
        let name = "node_lnstat_entries_total";
        format!("# TYPE {name} counter\n{name} {value}\n")
    };
    let [five, seven, nine] = [5, 7, 9].map(page);
    let good = [&five[..], &seven, &nine];
    assert_eq!(found(&compared(&[], &[good, [&nine, &five, &seven], good, good])), EQUAL);
}

#[test]
fn two_ways_to_scale_a_counter_are_equal_and_another_unit_is_not() {
    let (there, here) = ("# TYPE a counter\na 0.30000000000000004\n", "# TYPE a counter\na 0.3\n");
    assert_eq!(found(&compared(&[], &steady(there, here))), EQUAL);
    let here = "# TYPE a counter\na 300\n";
    assert!(found(&compared(&[], &steady(there, here))).contains("a: 300 here, between 0.3000"));
}

#[test]
fn a_gauge_has_all_rounds_to_agree() {
    let page = |value: f64| format!("# TYPE a gauge\na {value}\n");
    let [low, near, high] = [100.0, 100.9, 200.0].map(page);
    // It is within the tolerance, has moved from page to page, or agrees at last.
    assert_eq!(found(&compared(&[], &steady(&low, &near))), EQUAL);
    let away = [&low[..], &high, &low];
    let comparison = compared(&[], &[away, away]);
    assert!(comparison.is_undecided());
    let comparison = compared(&[], &[away, away, away, [&low, &low, &low]]);
    assert!(!comparison.is_undecided());
    assert_eq!(found(&comparison), EQUAL);
    finds(
        &[away; 4],
        &expect![[r#"
            gauges that never agree to 1 %: 1 series in 1 family
              a: 1 of 1
                a: 200 here, between 100 and 100 there

            They differ in 1 family, 1 series.
        "#]],
    );
    let moving = page(150.0);
    assert_eq!(found(&compared(&[], &[[&low[..], &high, &moving]; 3])), EQUAL);
}

#[test]
fn no_number_is_a_difference() {
    for (there, here) in
        [("NaN", "1"), ("1", "NaN"), ("+Inf", "1"), ("1", "-Inf"), ("+Inf", "-Inf")]
    {
        let [there, here] = [there, here].map(|value| format!("# TYPE a gauge\na {value}\n"));
        assert!(
            found(&compared(&[], &steady(&there, &here))).contains("1 series"),
            "{there}{here}"
        );
    }
}

#[test]
fn the_parts_of_histograms_count_and_quantiles_do_not() {
    let there = "# TYPE h histogram\nh_bucket{le=\"1\"} 4\nh_sum 9\nh_count 5\n\
                 # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 9\ns_count 5\n";
    let here = there.replace(" 9\n", " 8\n").replace(" 5\n", " 6\n").replace(" 1\n", " 3\n");
    finds(
        &steady(there, &here),
        &expect![[r#"
            counters that disagree: 5 series in 2 families
              h: 3 of 4
                h_bucket{le="+Inf"}: 6 here, between 5 and 5 there
                h_count: 6 here, between 5 and 5 there
                h_sum: 8 here, between 9 and 9 there
              s: 2 of 3
                s_count: 6 here, between 5 and 5 there
                s_sum: 8 here, between 9 and 9 there

            gauges that never agree to 1 %: 1 series in 1 family
              s: 1 of 3
                s{quantile="0.5"}: 3 here, between 1 and 1 there

            They differ in 2 families, 6 series.
        "#]],
    );
}

#[test]
fn what_comes_and_goes_is_said_and_is_no_difference() {
    let (old, new) = ("a 1\n", "a 1\nb 1\n");
    let comes = [[old, old, old], [old, old, new], [new, new, new], [new; 3]];
    finds(
        &comes,
        &expect![[r#"
            appeared: 1 series: b

            They are equal.
        "#]],
    );
    finds(
        &[[new, new, new], [new, old, old], [old; 3], [old; 3]],
        &expect![[r#"
            vanished: 1 series: b

            They are equal.
        "#]],
    );
    // A state that is there for a moment, again and again.
    finds(
        &[[new, old, new], [old, new, old], [old; 3], [new; 3]],
        &expect![[r#"
            came and went: 1 series: b

            They are equal.
        "#]],
    );
    // One that only one side has seen, once.
    finds(
        &[[old; 3], [old, new, old], [old; 3]],
        &expect![[r#"
            came and went: 1 series: b

            They are equal.
        "#]],
    );
}

#[test]
fn what_is_missing_now_and_then_is_a_difference() {
    let (with, without) = ("a 1\nb 1\n", "a 1\n");
    let good = [with; 3];
    finds(
        &[good, [with, without, with], good, [with, without, with], good],
        &expect![[r#"
            missing here: 1 series in 1 family
              b: 1 of 1
                b (in 2 of 5 rounds, from 2 to 4)

            They differ in 1 family, 1 series.
        "#]],
    );
    // Not even if the peer lacks it, too, as long as it was never here.
    let gap = [[with, without, with], [without; 3], [with, without, with]];
    assert!(found(&compared(&[], &gap)).contains("missing here: 1 series"));
    finds(
        &[[without, with, without], good, good],
        &expect![[r#"
            only here: 1 series in 1 family
              b: 1 of 1
                b (in round 1 of 3)

            They differ in 1 family, 1 series.
        "#]],
    );
}

#[test]
fn what_is_of_the_program_is_not_compared_and_said() {
    let there = "go_info 1\nprocess_threads 5\nnode_exporter_build_info{v=\"1\"} 1\n\
                 # TYPE node_scrape_collector_duration_seconds gauge\n\
                 node_scrape_collector_duration_seconds{collector=\"cpu\"} 5\n\
                 node_scrape_collector_duration_seconds{collector=\"wifi\"} 5\n\
                 # TYPE node_procs_running gauge\nnode_procs_running 9\n";
    let here = "vitald_x 1\nprocess_threads 2\nnode_exporter_build_info{v=\"2\"} 1\n\
                # TYPE node_scrape_collector_duration_seconds gauge\n\
                node_scrape_collector_duration_seconds{collector=\"cpu\"} 1\n\
                # TYPE node_procs_running gauge\nnode_procs_running 1\n";
    finds(
        &steady(there, here),
        &expect![[r#"
            missing here: 1 series in 1 family
              node_scrape_collector_duration_seconds: 1 of 2
                node_scrape_collector_duration_seconds{collector="wifi"}

            not compared: go_* (Go's runtime): 1 there, 0 here
            not compared: node_exporter_build_info* (the version of the program): 1 there, 1 here
            not compared: process_* (the process of the program): 1 there, 1 here
            not compared: vitald_* (vitald itself): 0 there, 1 here
            values not compared: node_scrape_collector_duration_seconds (how long a program took)
            may differ by 16: node_procs_running (a program that reads runs itself)

            They differ in 1 family, 1 series.
        "#]],
    );
}

#[test]
fn patterns_leave_out_series_and_types() {
    let there = "a{x=\"1\"} 1\na{x=\"2\"} 1\n# TYPE b gauge\nb 1\n";
    let here = "a{x=\"2\"} 1\n# TYPE b counter\nb 2\n";
    let comparison = compared(&["^a{x=\"1\"}$", "^b", "^c"], &steady(there, here));
    expect![[r#"
        ignored: ^a{x="1"}$: 1 there, 0 here
        ignored: ^b: 1 there, 1 here
        ignored: ^c: 0 there, 0 here

        They are equal.
    "#]]
    .assert_eq(&found(&comparison));
}

#[test]
fn rounds_that_failed_leave_it_open() {
    let comparison = compared(&[], &steady("a 1\n", "a 1\n"));
    let failed = About { failed_rounds: 2, first_failure: Some("no answer".to_owned()), ..about() };
    let report = Report::new(&comparison, failed);
    assert!(report.is_equal() && report.has_failed());
    expect![[r#"
        peer: P
        here: H
        compared: 1 series in 3 rounds within 0.0 s
        not made: 2 rounds: no answer

        Nothing differs so far, but not every round could be made.
    "#]]
    .assert_eq(&report.text());
    assert_eq!(report.json()["equal"], false);
}

#[test]
fn as_json() {
    let there = "# TYPE a counter\na 5\n# TYPE b gauge\nb NaN\nc 1\n";
    let here = "# TYPE a counter\na 4\n# TYPE b counter\nb 1\n";
    let comparison = compared(&["^x"], &steady(there, here));
    let report = Report::new(&comparison, About { notes: vec!["N".to_owned()], ..about() });
    expect![[r#"
        {
          "differences": [
            {
              "family": "c",
              "fault": "missing",
              "series": 1,
              "series_of_family": 1,
              "shown": [
                {
                  "first_round": 1,
                  "last_round": 3,
                  "rounds": 3,
                  "series": "c"
                }
              ]
            },
            {
              "family": "a",
              "fault": "counter",
              "series": 1,
              "series_of_family": 1,
              "shown": [
                {
                  "after": 5.0,
                  "before": 5.0,
                  "first_round": 1,
                  "here": 4.0,
                  "last_round": 3,
                  "rounds": 3,
                  "series": "a"
                }
              ]
            },
            {
              "family": "b",
              "fault": "gauge",
              "series": 1,
              "series_of_family": 1,
              "shown": [
                {
                  "after": "NaN",
                  "before": "NaN",
                  "first_round": 1,
                  "here": 1.0,
                  "last_round": 3,
                  "rounds": 3,
                  "series": "b"
                }
              ]
            },
            {
              "family": "b",
              "fault": "type",
              "first_round": 1,
              "here": "counter",
              "last_round": 3,
              "rounds": 3,
              "there": "gauge"
            }
          ],
          "equal": false,
          "failed_rounds": 0,
          "first_failure": null,
          "here": "H",
          "ignored": [
            {
              "here": 0,
              "pattern": "^x",
              "there": 0
            }
          ],
          "movements": {},
          "not_compared": [],
          "notes": [
            "N"
          ],
          "peer": "P",
          "peer_version": null,
          "rounds": 3,
          "seconds": 0.0,
          "series": 3,
          "tolerance": 0.01
        }
    "#]]
    .assert_eq(&format!("{:#}\n", report.json()));
}

#[test]
fn a_page_that_is_wrong_is_refused_with_its_line() {
    let error = |text: &str| Page::parse(text.as_bytes()).expect_err("it is wrong");
    assert_eq!(error("a 1\n<html>\n"), "line 2: expected the name of a metric");
    assert_eq!(error("a 1"), "line 1: expected a newline at the end of the file");
    assert_eq!(error("a{b=\"\"} 1\na 2\n"), "the series a is there twice");
}

#[test]
fn a_pair_that_differs_by_one_label_is_one_difference() {
    let there = "a{x=\"1\"} 1\na{x=\"2\"} 1\nb{k=\"\\\",q=\\\\\"} 1\nc{m=\"1\",n=\"2\"} 1\n\
                 node_exporter_build_info{branch=\"b\",version=\"1.5.0\"} 1\n";
    let here = "a{n=\"7\",x=\"1\"} 1\na{n=\"8\",x=\"2\"} 1\na{n=\"8\",x=\"3\"} 1\n\
                b{k=\"\\\",q=\\\\\",l=\"1\"} 1\nc{n=\"2\"} 1\n";
    let comparison = compared(&[], &steady(there, here));
    let report = Report::new(&comparison, about());
    expect![[r#"
        peer: P, node_exporter 1.5.0
        here: H
        compared: 9 series in 3 rounds within TIME
        note: vitald has the metrics of node_exporter 1.12.1; what releases after 1.5.0 have changed is in docs/migration.md

        only here: 1 series in 1 family
          a: 1 of 5
            a{n="8",x="3"}

        with one label more on a side: 4 series
          a: 2 of 3 has the label n here
          b: 1 of 1 has the label l here
          c: 1 of 1 has the label m there

        not compared: node_exporter_build_info* (the version of the program): 1 there, 0 here

        They differ in 3 families, 5 series.
    "#]].assert_eq(&report.text().replace("0.0 s", "TIME"));
    let json = report.json();
    assert_eq!(json["peer_version"], "1.5.0");
    let label = json["differences"].as_array().expect("a list").iter();
    let label = label.filter(|difference| difference["fault"] == "label").map(|difference| {
        ["family", "label", "side"].map(|key| difference[key].as_str().expect("text"))
    });
    assert_eq!(
        label.collect::<Vec<_>>(),
        [["a", "n", "here"], ["b", "l", "here"], ["c", "m", "there"]]
    );
}

#[test]
fn a_family_whose_labels_change_is_missed() {
    let page = |name: &str, x: usize| format!("a 1\n{name}{{x=\"{x}\"}} 1\n");
    let churn = |name: &str| (0..8).map(|x| page(name, x)).collect::<Vec<_>>();
    let (b, empty) = (churn("b"), "a 1\n");
    let there: Vec<_> = (0..4).map(|round| [&*b[2 * round], empty, &b[2 * round + 1]]).collect();
    finds(
        &there,
        &expect![[r#"
            missing here: 8 series in 1 family
              b: 8 of 8
                b{x="0"}

            They differ in 1 family, 8 series.
        "#]],
    );
    let here: Vec<_> = (0..4).map(|round| [empty, &*b[round], empty]).collect();
    finds(
        &here,
        &expect![[r#"
            only here: 4 series in 1 family
              b: 4 of 4
                b{x="0"} (in round 1 of 4)

            They differ in 1 family, 4 series.
        "#]],
    );
}

#[test]
fn what_has_gone_is_counted_and_not_kept() {
    let page = |name: &str, x: usize| {
        let page = format!("a 1\n{name}{{x=\"{x}\"}} 1\n");
        Page::parse(page.as_bytes()).expect("the text format")
    };
    let empty = Page::parse(b"a 1\n").expect("the text format");
    for is_missing in [true, false] {
        let mut comparison = Comparison::new(Rules { tolerance: 0.01, ignored: Vec::new() });
        comparison.most_kept = 10;
        for x in 0..100 {
            let (there, here) = (page("b", x), page("b", x));
            comparison.add(&there, if is_missing { &empty } else { &here }, &there);
            assert!(comparison.series.len() <= 10);
        }
        let report = Report::new(&comparison, about());
        assert_eq!(report.is_equal(), !is_missing);
        let last =
            if is_missing { "They differ in 1 family, 100 series.\n" } else { "They are equal.\n" };
        assert!(report.text().ends_with(last), "{}", report.text());
        assert!(report.text().contains("that came and went are counted only"));
    }
}
