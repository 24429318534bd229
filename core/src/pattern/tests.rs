//! What real Go answers, and what must hold for any expression.

use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

// `pattern_table.txt` was made with Go 1.19 from its own texts and patterns, by
// `go run main.go < pattern_table.txt > new`, main.go being as follows. A line is one of these,
// with a tab between two fields, `%FF` for an odd byte, and no tab before an empty last field:
//
// - `text`, and a text to try every pattern on.
// - `refused`, and a pattern.
// - Bits in hexadecimal, the lowest for the first text, and a pattern that matches those texts.
// - `groups`, a pattern, a text, and what the named groups caught in it.
//
//     package main
//
//     import (
//         "bufio"
//         "fmt"
//         "os"
//         "regexp"
//         "strconv"
//         "strings"
//     )
//
//     func read(field string) string {
//         parts := strings.Split(field, "%")
//         for i := 1; i < len(parts); i++ {
//             code, err := strconv.ParseUint(parts[i][:2], 16, 8)
//             if err != nil {
//                 panic(err)
//             }
//             parts[i] = string([]byte{byte(code)}) + parts[i][2:]
//         }
//         return strings.Join(parts, "")
//     }
//
//     func main() {
//         var texts []string
//         rows := bufio.NewScanner(os.Stdin)
//         for rows.Scan() {
//             kind, rest, _ := strings.Cut(rows.Text(), "\t")
//             switch kind {
//             case "text":
//                 texts = append(texts, read(rest))
//             case "groups":
//                 fields := strings.Split(rest, "\t")[:2]
//                 re := regexp.MustCompile(read(fields[0]))
//                 places := re.FindStringSubmatchIndex(read(fields[1]))
//                 for i, name := range re.SubexpNames() {
//                     if name != "" && places != nil && places[2*i] >= 0 {
//                         fields = append(fields, fmt.Sprint(name, "=", places[2*i], "-", places[2*i+1]))
//                     }
//                 }
//                 rest = strings.Join(fields, "\t")
//             default:
//                 kind = "refused"
//                 if re, err := regexp.Compile(read(rest)); err == nil {
//                     matches := uint32(0)
//                     for i, text := range texts {
//                         if re.MatchString(text) {
//                             matches |= 1 << i
//                         }
//                     }
//                     kind = fmt.Sprintf("%08x", matches)
//                 }
//             }
//             fmt.Println(strings.TrimRight(kind+"\t"+rest, "\t"))
//         }
//     }
const TABLE: &str = include_str!("../pattern_table.txt");

/// The patterns that Go 1.19 and `Pattern` take differently, by what the difference is.
const DIFFERENCES: &[(&str, &[&str])] = &[
    ("Go takes this name of a group from 1.22 on.", &["(?<n>a)"]),
    ("Go takes these names of classes from 1.25 on.", &[r"\p{any}", r"\p{greek}", r"\p{Letter}"]),
    ("Scripts have their short names, too.", &[r"\p{Grek}"]),
    ("Go 1.19 lets the case of a branch spread (golang/go#59007).", &["(?i:s)x|S"]),
    ("A surrogate matches nothing.", &[r"^\x{D800}$"]),
];

#[derive(Debug, PartialEq)]
enum Answer {
    Refused,
    Matches(u32),
}

fn unescaped(field: &str) -> Vec<u8> {
    let mut parts = field.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

fn unescaped_text(field: &str) -> String {
    String::from_utf8(unescaped(field)).unwrap()
}

fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.lines().map(|line| line.split_once('\t').unwrap_or((line, "")))
}

#[test]
fn answers_as_go_does() {
    let texts: Vec<_> =
        rows().filter(|row| row.0 == "text").map(|(_, text)| unescaped(text)).collect();
    let mut rest: Vec<&str> =
        DIFFERENCES.iter().flat_map(|(_, sources)| *sources).copied().collect();
    let mut wrong = String::new();
    let mut patterns = 0;
    for (answer, source) in rows() {
        let go = match answer {
            "text" | "groups" => continue,
            "refused" => Answer::Refused,
            bits => Answer::Matches(u32::from_str_radix(bits, 16).unwrap()),
        };
        patterns += 1;
        let source = unescaped_text(source);
        let ours = Pattern::new(&source).map(|pattern| {
            texts.iter().rev().fold(0, |bits, text| bits << 1 | u32::from(pattern.matches(text)))
        });
        let sentence = ours.as_ref().err().cloned();
        let ours = ours.map_or(Answer::Refused, Answer::Matches);
        if let Some(position) = rest.iter().position(|known| *known == source) {
            rest.swap_remove(position);
            assert_ne!(ours, go, "{source} is no difference");
        } else if ours != go {
            wrong += &format!("{source}\n  Go {go:x?}\n  we {ours:x?} {sentence:?}\n");
        }
        if let Some(sentence) = sentence {
            assert!(sentence.starts_with("not a regular expression"), "{source}: {sentence}");
            assert!(!sentence.contains(char::is_control), "{source}: {sentence}");
        }
    }
    assert_eq!(wrong, "");
    assert_eq!(rest, [""; 0]);
    assert!(patterns > 600);
}

/// The tests have more of the tables of Unicode than the daemon.
#[test]
fn needs_no_tables() {
    let own = [r"\A", r"\z", r"(?-u:\b)", r"(?-u:\B)", "(?m:^)", "(?m:$)", "(?s:.)", "(?:", r"\x"];
    let mut translated = 0;
    for (_, source) in rows() {
        let Ok(translation) = translate(&String::from_utf8_lossy(&unescaped(source))) else {
            continue;
        };
        let rest = own.iter().fold(translation.expression, |rest, part| rest.replace(part, ""));
        assert!(!rest.contains('\\') && !rest.contains("(?"), "{source}: {rest}");
        translated += 1;
    }
    assert!(translated > 300, "{translated}");
}

#[test]
fn catches_what_go_catches() {
    let groups: Vec<_> = rows().filter(|row| row.0 == "groups").collect();
    assert!(groups.len() > 10, "{}", groups.len());
    for (_, row) in groups {
        let mut fields = row.split('\t');
        let pattern = Pattern::new(&unescaped_text(fields.next().unwrap())).unwrap();
        let text = unescaped(fields.next().unwrap());
        // Twice, as the second search uses the memory of the first.
        for _ in 0..2 {
            let mut caught = Vec::new();
            pattern.captures(&text, |name, group| {
                let start = group.as_ptr().addr() - text.as_ptr().addr();
                caught.push(format!("{name}={start}-{}", start + group.len()));
            });
            assert_eq!(caught, fields.clone().collect::<Vec<_>>(), "{}", pattern.source());
        }
    }
}

#[test]
fn says_what_is_wrong() {
    let sentence = |source: &str| Pattern::new(source).unwrap_err();
    let sentences = [
        "(a",
        "a)",
        "[a",
        "[z-a]",
        "[[:foo:]]",
        r"\Z",
        r"\1",
        r"a\",
        "*",
        "a|+",
        "a**",
        "a{2}{3}",
        "a{1001}",
        "a{2,1}",
        "(a{100}){11}",
        "(?=a)",
        "(?x)a",
        "(?P<a b>x)",
        "(?P<n",
        r"\p{Klingon}",
        r"[\pX]",
        r"\p{Greek",
        "(?\n)",
    ]
    .map(|source| format!("{source:?}: {}\n", sentence(source)));
    expect_test::expect![[r#"
        "(a": not a regular expression: unclosed group
        "a)": not a regular expression: unopened group
        "[a": not a regular expression: unclosed character class
        "[z-a]": not a regular expression: `z-a` is a range that ends before it starts
        "[[:foo:]]": not a regular expression: `[:foo:]` is no class of characters
        "\\Z": not a regular expression: `\Z` is no escape sequence
        "\\1": not a regular expression: `\1` is no escape sequence
        "a\\": not a regular expression: it ends in a lone backslash
        "*": not a regular expression: `*` has nothing to repeat
        "a|+": not a regular expression: `+` has nothing to repeat
        "a**": not a regular expression: `*` repeats a repetition
        "a{2}{3}": not a regular expression: `{3}` repeats a repetition
        "a{1001}": not a regular expression: the counts of `{1001}` are above 1000 or the wrong way round
        "a{2,1}": not a regular expression: the counts of `{2,1}` are above 1000 or the wrong way round
        "(a{100}){11}": not a regular expression: `{11}` and the repetitions within repeat more than 1000 times
        "(?=a)": not a regular expression: `(?=` starts no kind of group that there is
        "(?x)a": not a regular expression: `(?x` starts no kind of group that there is
        "(?P<a b>x)": not a regular expression: `(?P<a b>` gives a group no valid name
        "(?P<n": not a regular expression: `(?P<n` gives a group no valid name
        "\\p{Klingon}": not a regular expression: `\p{Klingon}` is no class of Unicode
        "[\\pX]": not a regular expression: `\pX` is no class of Unicode
        "\\p{Greek": not a regular expression: `\p{Greek` has no end
        "(?\n)": not a regular expression: `(?�` starts no kind of group that there is
    "#]].assert_eq(&sentences.concat());
}

#[test]
fn finds_itself_in_a_text_that_is_not_utf_8() {
    let text = b"a\xE2\x82\xC3\xA9\xFF\xFFb";
    let place = |copied| place_before_replacing(text, copied);
    // The copy has `a`, two replacements, `é`, two replacements and `b`.
    assert_eq!([0, 1, 4, 7, 9, 12, 15, 16].map(place), [0, 1, 2, 3, 5, 6, 7, 8]);
}

#[test]
fn takes_what_nests_deeply_or_is_large() {
    let nested = |open: &str, close: &str, times: usize| {
        Pattern::new(&format!("{}a{}", open.repeat(times), close.repeat(times)))
    };
    // Go sees no depth in the first two.
    for (open, close) in [("(?:", ")"), ("(?:b(?:", ")c)")] {
        assert!(nested(open, close, 4_000).is_ok(), "{open}");
    }
    for (open, close) in [
        ("(", "|b)"),
        ("(", "b)*"),
        ("(?P<n>", ")"),
        ("(?:", "b*)+"),
        ("(b", ")?"),
        ("(?:[ab]", "|[^ab])*?"),
        ("((?i)b|", ")"),
    ] {
        assert!(nested(open, close, 30).is_ok_and(|pattern| pattern.matches(b"ba")), "{open}");
        let sentence = nested(open, close, 4_000).unwrap_err();
        assert!(sentence.ends_with("it nests more than 128 deep"), "{open}: {sentence}");
    }
    // A thread may have a small stack.
    let source = "(b".repeat(21_000) + &")".repeat(21_000);
    let pattern = std::thread::Builder::new().stack_size(256 << 10);
    let pattern = pattern.spawn(move || Pattern::new(&source)).unwrap().join().unwrap();
    assert!(pattern.is_ok_and(|pattern| !pattern.matches(b"bb")));
    let repeated =
        nested("", "*(?i)", 1).and_then(|_| Pattern::new(&format!("a{}", "*(?i)".repeat(4_000))));
    assert!(repeated.is_err());
    let long = "日本".repeat(10_000);
    assert!(Pattern::new(&long).is_ok_and(|pattern| !pattern.matches("日本".as_bytes())));
    assert!(Pattern::new(".{1000}").unwrap().matches("é".repeat(1000).as_bytes()));
    let sentence = Pattern::new(&".{1000}".repeat(20)).unwrap_err();
    assert!(sentence.ends_with("it is too large once compiled"), "{sentence}");
    assert!(Pattern::new(&"(?P<n>a)".repeat(100)).is_ok());
    assert!(Pattern::new(&"(?P<n>a)".repeat(8_000)).is_err());
}

#[test]
fn a_long_expression_is_refused_before_it_is_compiled() {
    assert!(Pattern::new(&"a".repeat(64 << 10)).is_ok());
    // It would be refused for its end if it were looked at.
    let sentence = Pattern::new(&format!("{}(", "a".repeat(64 << 10))).unwrap_err();
    assert!(sentence.ends_with("it is longer than 64 KiB"), "{sentence}");
}

#[test]
fn a_small_expression_is_compiled_when_it_is_needed() {
    let pattern = Pattern::new("^(?:autofs|[^/]+)$").unwrap();
    let is_compiled = |pattern: &Pattern| {
        [&pattern.for_ascii, &pattern.for_all].map(|compiled| compiled.get().is_some())
    };
    let copy = pattern.clone();
    assert!(pattern.matches(b"autofs"));
    assert_eq!(is_compiled(&pattern), [false, false]);
    assert!(pattern.matches("a".repeat(1000).as_bytes()));
    assert_eq!(is_compiled(&pattern), [true, false]);
    assert!(
        pattern.matches("é".as_bytes()) && pattern.matches(b"\xFF") && !pattern.matches(b"\xFF/")
    );
    assert_eq!(is_compiled(&pattern), [true, true]);
    assert!(copy.matches(b"autofs"));
    assert_eq!(is_compiled(&copy), [false, false]);
}

/// What takes the most memory for its length, up to the length at which it is no longer put off.
#[test]
fn a_small_expression_is_not_too_large() {
    for (open, part, close) in [
        ("", ".", ""),
        ("", ".*", ""),
        ("", "[^a]", ""),
        ("", r"\p{Greek}", ""),
        ("", "(?i)é", ""),
        ("[", "\u{80}-\u{D7FF}\u{E001}-\u{10FFF0}", "]"),
        ("(?:", "[ࠁ-𐁂]", "){3}"),
        ("(?:(?:", "[ࠁ-𐁂]*?", "){3}|é){10}"),
        ("", "[ࠁ-𐁂]{10}", ""),
        ("", "(?P<n>[ࠁ-𐁂])", ""),
        ("", "a{500}", ""),
        ("(?:", "", "){200}"),
    ] {
        let source = |times: usize| format!("{open}{}{close}", part.repeat(times));
        let is_put_off = |times: &usize| is_small(&translate(&source(*times)).unwrap());
        let most =
            (0..=12).map(|power| 1 << power).take_while(is_put_off).last().expect("one is small");
        assert!(compile(&translate(&source(most)).unwrap(), Texts::Utf8).is_ok(), "{}", source(1));
    }
}

#[test]
fn keeps_the_memory_of_clones_apart() {
    let pattern = Pattern::new("(?P<n>b+)").unwrap();
    let copy = pattern.clone();
    assert_eq!(pattern, copy);
    for pattern in [pattern, copy] {
        assert!(
            pattern.captures(b"abbc", |name, group| assert_eq!((name, group), ("n", &b"bb"[..])))
        );
    }
}

/// Expressions that are taken, most of which can be walked.
pub(super) fn expressions() -> impl Strategy<Value = String> {
    let atoms = prop::sample::select(vec![
        "",
        ".",
        "(?s:.)",
        "[^/]",
        "[^a]",
        r"[^\x00-\x7F]",
        "[^é]",
        "[à-ö]",
        "[a-é]",
        "[_b]",
        "(?i:A)",
        r"\A",
        "^",
        "$",
        r"\z",
        "(?m:^)",
        "(?m:$)",
        r"\b",
        r"\B",
        "a",
        "ab",
        "b_",
        "/",
        "é",
        "日",
        r"\x0A",
        r"\Qa/\E",
    ]);
    atoms.prop_map(str::to_owned).prop_recursive(4, 16, 4, |inner| {
        let several = prop::collection::vec(inner.clone(), 1..4);
        let operators =
            prop::sample::select(vec!["*", "+?", "?", "{2}", "{0,3}", "+", "{0}", "??", "*?"]);
        let items = prop::sample::select(vec![
            "a", "ab", "[ab]", ".", "b_", r"\Qab\E", "ab(?i)", "()", "(ab)",
        ]);
        prop_oneof![
            several.clone().prop_map(|parts| parts.concat()),
            several.prop_map(|branches| format!("(?:{})", branches.join("|"))),
            inner.clone().prop_map(|inner| format!("({inner})")),
            (inner, operators.clone())
                .prop_map(|(inner, operator)| format!("(?:{inner}){operator}")),
            (items, operators).prop_map(|(items, operator)| format!("{items}{operator}")),
        ]
    })
}

/// Texts that they may match.
pub(super) fn texts() -> impl Strategy<Value = String> {
    let letters = prop::sample::select(vec!['a', 'b', 'A', '/', '\n', '_', '\0', '\x7F']);
    prop::collection::vec(letters, 0..8).prop_map(|letters| letters.into_iter().collect())
}

/// Text in which expressions are likely.
fn likely() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        4 => prop::sample::select(vec![
            "(", ")", "(?:", "(?P<n>", "(?i)", "(?", "|", "*", "+?", "?", "{2}", "{2,}", "{0,3}",
            "{", "}", ",", "[", "[^", "]", "-", "^", "$", ".", "\\", r"\Q", r"\E", r"\d", r"\W",
            r"\b", r"\B", r"\x", r"\p{Any}", r"\pL", "[:", ":]", "[:alpha:]", "[[:^word:]]",
            "&&", "--", "~~", "a", "b", "k", "S", "1", "é", "ſ", "日", "\n", "\0", "1000", "<",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_compiles_or_is_refused(
        source in prop_oneof![likely(), any::<String>()],
        text in prop_oneof![
            any::<Vec<u8>>(),
            prop::collection::vec(prop::sample::select(&b"ab1\n-\xC3\xA9\xFF"[..]), 0..12),
        ],
    ) {
        let start = Instant::now();
        match Pattern::new(&source) {
            Err(sentence) => prop_assert!(!sentence.contains(char::is_control), "{}", sentence),
            Ok(pattern) => {
                for texts in [Texts::Ascii, Texts::Utf8] {
                    prop_assert!(pattern.compiled(texts).is_some());
                }
                let matches = pattern.matches(&text);
                prop_assert_eq!(pattern.captures(&text, |_, _| {}), matches);
                let ascii: Vec<u8> = text.iter().map(|byte| byte & 0x7F).collect();
                prop_assert_eq!(pattern.captures(&ascii, |_, _| {}), pattern.matches(&ascii));
            }
        }
        // Ample, as tests run unoptimised beside others.
        prop_assert!(start.elapsed() < Duration::from_secs(20));
    }

    /// What is quoted matches itself, and only as a piece of the text.
    #[test]
    fn quoted_text_matches_itself(text in "\\PC{1,8}", around in "[a-z]{0,3}") {
        prop_assume!(!text.contains(r"\E"));
        let pattern = Pattern::new(&format!(r"^[a-z]*\Q{text}\E[a-z]*$")).unwrap();
        let whole = format!("{around}{text}{around}");
        prop_assert!(pattern.matches(whole.as_bytes()));
        let other = format!("{around}\0{around}");
        prop_assert!(!pattern.matches(other.as_bytes()));
    }
}
