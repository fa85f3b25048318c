use super::*;

const PLACEHOLDER: &str = "wardian-placeholder-1";
const SECRET: &str = "s3cr3t/+value";

fn value(text: &str) -> Value {
    Value::new(text).expect("short")
}

fn injection() -> Injection<'static> {
    let mut injection = Injection::none();
    injection
        .add("key", value(SECRET), Way::Placeholder(PLACEHOLDER))
        .expect("usable");
    injection
}

fn text(bytes: Option<Zeroizing<Vec<u8>>>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"))
}

#[test]
fn replaces_in_values() {
    let mut injection = injection();
    assert_eq!(injection.used().count(), 0);
    assert_eq!(text(injection.value(b"nothing here")), None);
    assert_eq!(injection.used().count(), 0);
    assert_eq!(
        text(injection.value(format!("Bearer {PLACEHOLDER}").as_bytes())),
        Some(format!("Bearer {SECRET}"))
    );
    assert_eq!(injection.used().collect::<Vec<_>>(), ["key"]);
    let twice = format!("a={PLACEHOLDER}; b={PLACEHOLDER}");
    assert_eq!(
        text(injection.value(twice.as_bytes())),
        Some(format!("a={SECRET}; b={SECRET}"))
    );
}

#[test]
fn replaces_inside_basic() {
    let mut injection = injection();
    let sent = format!(
        "basic {}",
        STANDARD.encode(format!("x-access-token:{PLACEHOLDER}"))
    );
    let expected = format!(
        "Basic {}",
        STANDARD.encode(format!("x-access-token:{SECRET}"))
    );
    assert_eq!(text(injection.value(sent.as_bytes())), Some(expected));
    let other = format!("Basic {}", STANDARD.encode("user:password"));
    assert_eq!(text(injection.value(other.as_bytes())), None);
    assert_eq!(text(injection.value(b"Basic !!!")), None);
}

#[test]
fn replaces_in_the_query_encoded_and_not_in_the_path() {
    let mut injection = injection();
    assert_eq!(
        text(injection.target(&format!("/v1/{PLACEHOLDER}?key={PLACEHOLDER}&x=1"))),
        Some(format!("/v1/{PLACEHOLDER}?key=s3cr3t%2F%2Bvalue&x=1"))
    );
    assert_eq!(text(injection.target(&format!("/v1/{PLACEHOLDER}"))), None);
    assert_eq!(
        text(injection.target(&format!("/v1/{PLACEHOLDER}?x=1"))),
        None
    );
}

#[test]
fn sets_fields_and_basic() {
    let mut injection = Injection::none();
    injection
        .add(
            "a",
            value("tok"),
            Way::Field {
                name: "x-api-key",
                prefix: "Token ",
                suffix: "!",
            },
        )
        .expect("usable");
    injection
        .add("b", value("tok"), Way::Basic { user: "me" })
        .expect("usable");
    assert!(
        injection.replaces(b"X-Api-Key")
            && injection.replaces(b"authorization")
            && !injection.replaces(b"x-other")
    );
    let fields: Vec<_> = injection
        .fields()
        .into_iter()
        .map(|(name, value)| (name, text(Some(value)).unwrap()))
        .collect();
    assert_eq!(
        fields,
        [
            ("x-api-key", "Token tok!".to_owned()),
            (
                "authorization",
                format!("Basic {}", STANDARD.encode("me:tok"))
            )
        ]
    );
    assert_eq!(injection.used().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn refuses_values_that_would_break_the_head() {
    let added = Injection::none().add("bad", value(""), Way::Basic { user: "u" });
    assert_eq!(added, Err(Unusable("bad".to_owned())));
    // What would break a line is no value to begin with.
    assert!(Value::new("a\r\nX: y").is_err() && Value::new("a\0").is_err());
    assert!(
        Injection::none()
            .add("short", value("secret"), Way::Placeholder("abc"))
            .is_err()
    );
}

#[test]
fn debug_shows_no_value() {
    assert!(!format!("{:?}", injection()).contains(SECRET));
}

#[test]
fn growth_is_enough() {
    let mut injection = injection();
    let value = format!("{PLACEHOLDER}{PLACEHOLDER}{PLACEHOLDER}");
    let grown = injection.value(value.as_bytes()).expect("replaced").len();
    assert!(grown <= value.len() + injection.growth(value.len()));
}
