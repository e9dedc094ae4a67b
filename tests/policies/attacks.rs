//! Texts made to break a reader of policies. Limits bound time and memory; what is taken is counted.

use crate::build::{ACTION, PACKAGE, any_policy, one, reading, rule, simple};
use crate::derive::right;
use allocation_counter::{AllocationInfo, measure};
use portvakt::domain::policy::{Fault, MAX_POLICY_BYTES, Policy};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// The texts that `write` gives for each number, one after the other.
fn many(count: u32, write: fn(u32) -> String) -> String {
    (0..count).map(write).collect::<Vec<_>>().concat()
}

fn good() -> String {
    simple(&[reading("Permit", one(PACKAGE, "p-one")), rule("Deny", &[one(ACTION, "write")])])
}

fn fault(text: &str) -> Fault {
    Policy::parse(text.as_bytes()).expect_err(text.get(..200).unwrap_or(text)).fault
}

fn element(parent: &str, element: &str) -> Fault {
    Fault::Element { parent: parent.into(), element: element.into() }
}

/// The good policy, with one thing changed that must be there.
fn changed(from: &str, to: &str) -> String {
    let good = good();
    assert!(good.contains(from), "{from}");
    good.replacen(from, to, 1)
}

#[test]
fn what_is_not_understood_refuses_the_policy_by_name() {
    let string = "http://www.w3.org/2001/XMLSchema#string";
    for (text, expected) in [
        (
            changed("#string", "#date"),
            Fault::DataType("http://www.w3.org/2001/XMLSchema#date".into()),
        ),
        (changed("#string", "#anyURI"), Fault::Types),
        (changed("function:string-equal", "function:nosuch"), {
            Fault::Function("urn:oasis:names:tc:xacml:1.0:function:nosuch".into())
        }),
        (changed("function:string-equal", "function:string-regexp-match"), {
            Fault::Function("urn:oasis:names:tc:xacml:1.0:function:string-regexp-match".into())
        }),
        (changed("deny-overrides", "unknown"), {
            Fault::Algorithm("urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:unknown".into())
        }),
        (changed("\"Deny\"", "\"deny\""), Fault::Effect("deny".into())),
        (changed("subject-category:access-subject", "subject-category:codebase"), {
            Fault::Category("urn:oasis:names:tc:xacml:1.0:subject-category:codebase".into())
        }),
        (changed("MustBePresent=\"false\"", "MustBePresent=\"1\""), Fault::Boolean("1".into())),
        (changed("MustBePresent=\"false\"", ""), Fault::MissingAttribute("MustBePresent")),
        (
            changed("MustBePresent", "SubjectCategory=\"x\" MustBePresent"),
            Fault::Attribute("SubjectCategory".into()),
        ),
        (changed("RuleId=\"r0\"", ""), Fault::MissingAttribute("RuleId")),
        (
            changed("Effect=\"Permit\"", "Effect=\"Permit\" Priority=\"1\""),
            Fault::Attribute("Priority".into()),
        ),
        (changed("<AnyOf>", "<AnyOf/><AnyOf>"), {
            Fault::MissingElement { parent: "AnyOf".into(), element: "AllOf" }
        }),
        (changed("</AllOf>", "<Match/></AllOf>"), Fault::MissingAttribute("MatchId")),
        (changed("<Target></Target>", ""), element("Policy", "Rule")),
        (changed("</Policy>", "<Target/></Policy>"), element("Policy", "Target")),
        (changed("<Rule ", "<VariableDefinition/><Rule "), element("Policy", "VariableDefinition")),
        (changed("<Target>", "<PolicyDefaults/><Target>"), element("Policy", "PolicyDefaults")),
        (
            changed("</Policy>", "<AdviceExpressions/></Policy>"),
            element("Policy", "AdviceExpressions"),
        ),
        (
            changed("</Rule>", "<ObligationExpressions/></Rule>"),
            element("Rule", "ObligationExpressions"),
        ),
        (
            changed("</Rule>", "<Condition><Apply FunctionId=\"f\"/></Condition></Rule>"),
            Fault::Function("f".into()),
        ),
        (changed("</Rule>", "<Condition><AttributeValue/></Condition></Rule>"), {
            element("Condition", "AttributeValue")
        }),
        (changed("<AttributeDesignator", "<AttributeSelector/><AttributeDesignator"), {
            element("Match", "AttributeSelector")
        }),
        (good().replace("Policy", "PolicySet"), element("the document", "PolicySet")),
        (changed("core:schema:wd-17", "core:schema:wd-18"), Fault::Namespace("Policy".into())),
        (changed("<Rule ", "<Rule xmlns=\"\" "), Fault::Namespace("Rule".into())),
        (changed("p-one<", "p-<!-- x -->one<"), Fault::Comment),
        (changed(">p-one", ">\n p-one"), Fault::WhiteSpace),
        (changed("p-one<", "p-<b/>one<"), element("AttributeValue", "b")),
        (changed("<Rule ", "x<Rule "), Fault::Text),
        (changed("p-one", "<![CDATA[p-one]]>"), Fault::Cdata),
        (format!("<?xml-model href=\"x\"?>{}", good()), Fault::ProcessingInstruction),
        (format!("<!DOCTYPE Policy>{}", good()), Fault::DocumentType),
    ] {
        assert_eq!(fault(&text), expected);
    }
    assert!(good().contains(string));
}

#[test]
fn what_differs_in_writing_only_is_read() {
    for text in [
        good(),
        format!("\u{feff}{}", good()),
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- a comment -->\n{}\n<!-- and after -->",
            good()
        ),
        good()
            .replace("</", "</x:")
            .replace("<A", "<x:A")
            .replace("<M", "<x:M")
            .replace("<T", "<x:T")
            .replace("<R", "<x:R")
            .replace("<Policy xmlns", "<x:Policy xmlns:x"),
        changed("<Rule ", "<!-- between --><Rule "),
        changed("<AllOf>", "\n\t <AllOf>"),
        changed("p-one", "p&#45;one"),
        changed("><Target>", "><Description>Any <!-- word --> &amp; more</Description><Target>"),
    ] {
        let policy =
            Policy::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(policy.packages().iter().map(ToString::to_string).eq(["p-one"]), "{text}");
    }
}

#[test]
fn an_error_says_where() {
    let text = changed("<Rule RuleId=\"r1\"", "\n\n  <Rule Rul=\"r1\"");
    let error = Policy::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "line 3, column 3: the attribute `Rul` is not understood");
    let unclosed = Policy::parse(b"<Policy>\n  <Target>\n</Policy>").unwrap_err();
    assert_eq!((unclosed.line, matches!(unclosed.fault, Fault::Malformed(_))), (3, true));
    assert!(matches!(fault(&format!("{}x", good())), Fault::Malformed(_)));
    assert!(matches!(fault(&format!("{0}{0}", good())), Fault::Malformed(_)));
    assert!(matches!(fault(&changed("p-one", "&e;")), Fault::Malformed(_)));
    assert!(matches!(
        fault(&changed("RuleId=\"r0\"", "RuleId=\"r0\" RuleId=\"r0\"")),
        Fault::Malformed(_)
    ));
}

#[test]
fn a_policy_that_is_cut_anywhere_is_refused() {
    let good = good();
    assert!(good.is_ascii());
    for end in 0..good.len() {
        assert!(Policy::parse(&good.as_bytes()[..end]).is_err(), "{end}");
    }
    assert!(Policy::parse(good.as_bytes()).is_ok());
}

#[test]
fn bombs_are_refused_before_they_are_built() {
    let deep = "<Target>".repeat(100_000);
    assert_eq!(fault(&deep), Fault::TooDeep);
    assert_eq!(fault(&changed("<Target>", &deep)), Fault::TooDeep);
    let laughs = many(9, |n| format!("<!ENTITY l{} \"{}\">", n + 1, format!("&l{n};").repeat(10)));
    let laughs = format!("<!DOCTYPE l [<!ENTITY l0 \"ha\">{laughs}]>{}", changed("p-one", "&l9;"));
    assert_eq!(fault(&laughs), Fault::DocumentType);
    let wide = many(50_000, |n| format!(" a{n}=''"));
    assert_eq!(fault(&changed("<Target", &format!("<Target{wide}"))), Fault::TooManyAttributes);
    let namespaces = many(20_000, |n| format!(" xmlns:n{n}='u'"));
    assert_eq!(
        fault(&changed("<Target", &format!("<Target{namespaces}"))),
        Fault::TooManyAttributes
    );
    assert_eq!(fault(&changed("<Target>", &"<AnyOf/>".repeat(60_000))), Fault::TooManyElements);
    assert_eq!(fault(&changed("p-one", &"x".repeat(MAX_POLICY_BYTES))), Fault::TooLarge);
    // Within the limits, a long value is a value.
    assert!(Policy::parse(changed("p-one", &"x".repeat(500_000)).as_bytes()).is_ok());
    // As many namespaces as are let through, inherited by as many elements as fit.
    let declared = many(30, |n| format!(" xmlns:n{n}='u'"));
    let nested = format!("<AnyOf{declared}>").repeat(20) + &"<AllOf xmlns:m='u'/>".repeat(40_000);
    assert!(Policy::parse(changed("<Target>", &format!("<Target>{nested}")).as_bytes()).is_err());
}

/// What reading a text takes; a reader that is no more than slow in an unoptimised program keeps the time.
fn costs(text: &[u8]) -> (Result<Policy, Fault>, AllocationInfo) {
    let (mut read, begun) = (None, Instant::now());
    let taken = measure(|| read = Some(Policy::parse(text)));
    let shown = String::from_utf8_lossy(&text[..text.len().min(200)]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}: {shown}", begun.elapsed());
    (read.unwrap().map_err(|error| error.fault), taken)
}

#[test]
fn entity_bombs_cost_nothing() {
    // What the words of a refusal take, beside a text of any length.
    const WORDS: u64 = 4096;
    let with = |entities: &str, value: &str| {
        format!("<!DOCTYPE Policy [{entities}]>{}", changed("p-one", value))
    };
    let laughs = many(9, |n| format!("<!ENTITY l{} \"{}\">", n + 1, format!("&l{n};").repeat(10)));
    let laughs = with(&format!("<!ENTITY l0 \"ha\">{laughs}"), "&l9;");
    let long = format!("<!ENTITY a \"{}\">", "x".repeat(100_000));
    let bombs = [
        laughs.clone(),
        format!("\u{feff}<?xml version=\"1.0\"?><!-- before -->\n{laughs}"),
        // Ten gigabytes, and no entity within another.
        with(&long, &"&a;".repeat(100_000)),
        with("<!ENTITY a \"&b;&b;\"><!ENTITY b \"&a;&a;\">", "&a;"),
        with("<!ENTITY a SYSTEM \"file:///dev/zero\">", "&a;"),
        with("<!ENTITY % p SYSTEM \"http://127.0.0.1:9/\"> %p;", "p-one"),
        format!("<!DOCTYPE Policy SYSTEM \"file:///dev/zero\">{}", good()),
        changed("<Target>", "<!DOCTYPE Policy [<!ENTITY a \"b\">]><Target>"),
        changed("<Target>", "<!ENTITY a \"b\"><Target>"),
    ];
    for bomb in &bombs {
        let (read, taken) = costs(bomb.as_bytes());
        assert_eq!(read.unwrap_err(), Fault::DocumentType);
        assert!(taken.bytes_max < WORDS, "{taken:?}");
    }
    // In another encoding, in which nobody looks for it.
    for endian in [u16::to_be_bytes, u16::to_le_bytes] {
        let wide: Vec<u8> = laughs.encode_utf16().flat_map(endian).collect();
        let (read, taken) = costs(&wide);
        assert_eq!(read.unwrap_err(), Fault::Encoding("UTF-16".into()));
        assert!(taken.bytes_max < WORDS, "{taken:?}");
    }
    // References to what nobody declared, and the neighbour: what XML itself declares is read.
    let unknown = changed("p-one", &"&l9;".repeat(100_000));
    assert!(matches!(costs(unknown.as_bytes()).0, Err(Fault::Malformed(_))));
    assert!(costs(changed("p-one", &"&#45;&amp;".repeat(50_000)).as_bytes()).0.is_ok());
}

#[test]
fn what_is_within_the_limits_takes_32_mebibytes_at_most() {
    let most = u64::try_from(MAX_POLICY_BYTES).unwrap() * 32;
    let rule = good();
    let begins = rule.find("<Rule ").unwrap();
    let (before, rule) = rule.split_at(begins);
    let (rule, _) = rule.split_once("</Rule>").unwrap();
    // As many rules, and as many alternatives of one rule, as a policy can be long.
    let full = |part: &str| {
        let count = (MAX_POLICY_BYTES - good().len()) / (part.len() + 6);
        let number =
            |n: usize| part.replace("p-one", &format!("p-{n}")).replace("r0", &format!("r{n}"));
        (0..count).map(number).collect::<String>()
    };
    let rules = format!("{before}{}</Policy>", full(&format!("{rule}</Rule>")));
    let (_, all) = rule.split_once("<AllOf>").unwrap();
    let (all, _) = all.split_once("</AllOf>").unwrap();
    let alternatives = changed("<AllOf>", &(full(&format!("<AllOf>{all}</AllOf>")) + "<AllOf>"));
    // The widest that is let through, thousands of times: more than the parser's own limits allow, or not.
    let wide = many(30, |n| format!(" a{n}=''"));
    let texts = [
        (rules, true),
        (alternatives, true),
        (changed("p-one", &"x".repeat(1_000_000)), true),
        (changed("<Target>", &format!("<Target>{}", "<AnyOf/>".repeat(49_000))), false),
        (changed("<Target>", &format!("<Target>{}", format!("<A{wide}/>").repeat(4_000))), false),
    ];
    for (text, is_read) in texts {
        assert!(text.len() <= MAX_POLICY_BYTES, "{}", text.len());
        let (read, taken) = costs(text.as_bytes());
        assert_eq!(read.is_ok(), is_read, "{:?}", read.err());
        assert!(taken.bytes_max < most, "{} of {}: {taken:?}", taken.bytes_max, text.len());
        let Ok(policy) = read else { continue };
        let begun = Instant::now();
        let taken = measure(|| drop(policy.compile(&right("ex-returns", "read"))));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(taken.bytes_max < most, "{taken:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_policy_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Policy::parse(&bytes);
    }

    #[test]
    fn a_mangled_policy_gives_a_policy_or_an_error(
        text in any_policy(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let mut bytes = text.into_bytes();
        for (place, byte, how) in places {
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.remove(place)),
            }
        }
        let _ = Policy::parse(&bytes);
    }

    #[test]
    fn a_policy_that_is_read_is_read_the_same_again(text in any_policy()) {
        let read = |text: &str| Policy::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(read(&text), read(&format!("\u{feff}{text}\n")));
    }
}
