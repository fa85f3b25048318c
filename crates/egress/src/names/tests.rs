use super::*;

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

#[test]
fn a_name_keeps_its_addresses_and_both_lead_back() {
    let names = Names::new(10);
    let first = names
        .assign(&name("api.example.com"), Spelled::ByRule)
        .unwrap();
    assert_eq!(
        first,
        names
            .assign(&name("API.example.com"), Spelled::ByProgram)
            .unwrap()
    );
    let other = names.assign(&name("example.com"), Spelled::ByRule).unwrap();
    assert_ne!(first.v4, other.v4);
    assert_ne!(first.v6, other.v6);
    for address in [
        IpAddr::V4(first.v4),
        IpAddr::V6(first.v6),
        IpAddr::V6(first.v4.to_ipv6_mapped()),
    ] {
        assert_eq!(names.name_of(address).unwrap().as_str(), "api.example.com");
        assert_eq!(
            wardian_policy::classify(address),
            wardian_policy::AddressClass::Synthetic
        );
    }
}

#[test]
fn addresses_without_a_name_say_which_kind_they_are() {
    let names = Names::new(10);
    for text in [
        "198.18.0.0",
        "198.18.0.9",
        "198.19.255.255",
        "fd77:6172:6469::9",
        "fd77:6172:6469:1::1",
    ] {
        assert!(
            matches!(names.meaning(text.parse().unwrap()), Meaning::Unassigned),
            "{text}"
        );
    }
    for text in [
        "198.17.255.255",
        "198.20.0.0",
        "127.0.0.1",
        "::1",
        "fd77:6172:646a::1",
        "::ffff:10.0.0.1",
    ] {
        let address: IpAddr = text.parse().unwrap();
        match names.meaning(address) {
            Meaning::Literal(literal) => assert_eq!(literal, address.to_canonical()),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_full_table_takes_only_from_names_that_nobody_uses() {
    let names = Names::new(3);
    let start = Instant::now();
    let [a, b, c, d] = ["a.example", "b.example", "c.example", "d.example"].map(name);
    let at_a = names.assign_at(&a, Spelled::ByProgram, start).unwrap();
    let at_b = names.assign_at(&b, Spelled::ByProgram, start).unwrap();
    names
        .assign_at(&c, Spelled::ByProgram, start + Duration::from_secs(1))
        .unwrap();
    assert_eq!(
        names.assign_at(
            &d,
            Spelled::ByProgram,
            start + HELD - Duration::from_millis(1)
        ),
        Err(TableFull)
    );

    // A connection is open to `a`: the next oldest, `b`, goes although `a` is older.
    let lease = names.meaning(at_a.v4.into());
    let later = Instant::now() + HELD;
    let at_d = names.assign_at(&d, Spelled::ByProgram, later).unwrap();
    assert!(
        at_d.v4 != at_b.v4,
        "a freed address is not handed out again at once"
    );
    assert!(matches!(names.meaning(at_b.v4.into()), Meaning::Unassigned));
    let Meaning::Name(lease) = lease else {
        panic!("{lease:?}")
    };
    assert_eq!(lease.name(), &a);
}

#[test]
fn memory_is_bounded_and_addresses_come_back_late() {
    let names = Names::new(100);
    let mut now = Instant::now();
    let mut last_use: HashMap<Ipv4Addr, u32> = HashMap::new();
    for turn in 0..POOL + 1000 {
        now += Duration::from_secs(2);
        let at = names
            .assign_at(&name(&format!("n{turn}.example")), Spelled::ByProgram, now)
            .unwrap();
        if let Some(before) = last_use.insert(at.v4, turn) {
            assert!(
                turn - before > POOL - 200,
                "re-used after {}",
                turn - before
            );
        }
    }
    let table = names.lock();
    assert_eq!(table.by_name.len(), 100);
    assert_eq!(table.by_index.len(), 100);
}

/// The control is the ninth made-up name, which finds no room.
#[test]
fn a_flood_of_made_up_names_leaves_room_for_those_that_the_policy_spells_out() {
    let names = Names::new(8);
    let now = Instant::now();
    let early = names
        .assign_at(&name("early.example"), Spelled::ByRule, now)
        .unwrap();
    for turn in 0..8 {
        let made_up = name(&format!("n{turn}.wild.example"));
        names.assign_at(&made_up, Spelled::ByProgram, now).unwrap();
    }
    let ninth = name("n8.wild.example");
    assert_eq!(
        names.assign_at(&ninth, Spelled::ByProgram, now),
        Err(TableFull)
    );
    let late = names
        .assign_at(&name("late.example"), Spelled::ByRule, now)
        .unwrap();
    assert_ne!(early, late);

    // Much later the flood goes on, and takes only from itself.
    let later = now + 10 * HELD;
    for turn in 8..100 {
        let made_up = name(&format!("n{turn}.wild.example"));
        let now = later + turn * HELD;
        names.assign_at(&made_up, Spelled::ByProgram, now).unwrap();
    }
    for (at, expected) in [(early, "early.example"), (late, "late.example")] {
        assert_eq!(names.name_of(at.v4.into()).unwrap().as_str(), expected);
    }
    // A new policy spells out what was made up: it changes shares, and makes room.
    let now = later + 99 * HELD;
    for turn in 92..100 {
        let made_up = name(&format!("n{turn}.wild.example"));
        names.assign_at(&made_up, Spelled::ByRule, now).unwrap();
    }
    assert_eq!(names.lock().made_up, 0);
    names.assign_at(&ninth, Spelled::ByProgram, now).unwrap();
    assert_eq!(names.lock().made_up, 1);
}
