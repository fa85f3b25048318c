use super::*;

use Controller::{Cpu, Memory, Pids};

fn hierarchy(mount: &str, own: Option<&str>) -> Hierarchy {
    Hierarchy {
        mount: mount.into(),
        own: own.map(Into::into),
    }
}

fn parse(mountinfo: &str, own: &str) -> Layout {
    Layout::parse(mountinfo.as_bytes(), own.as_bytes())
}

#[test]
fn version_1_with_shared_mounts() {
    let layout = parse(
        "\
25 30 0:23 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
32 25 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
33 32 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:10 - cgroup cgroup rw,xattr,name=systemd
36 32 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct
37 32 0:33 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory
38 32 0:34 / /sys/fs/cgroup/cpuset rw,nosuid shared:17 - cgroup cgroup rw,cpuset
39 32 0:35 / /sys/fs/cgroup/pids rw,nosuid shared:18 - cgroup cgroup rw,pids
",
        "\
11:memory:/user.slice/user-1000.slice/session-3.scope
6:cpuset:/
4:cpu,cpuacct:/user.slice
3:pids:/user.slice/user-1000.slice/session-3.scope
1:name=systemd:/user.slice/user-1000.slice/session-3.scope
",
    );
    let session = "user.slice/user-1000.slice/session-3.scope";
    assert_eq!(layout.v2, None);
    assert_eq!(
        layout.v1(Memory),
        Some(&hierarchy(
            "/sys/fs/cgroup/memory",
            Some(&format!("/sys/fs/cgroup/memory/{session}"))
        ))
    );
    assert_eq!(
        layout.v1(Cpu),
        Some(&hierarchy(
            "/sys/fs/cgroup/cpu,cpuacct",
            Some("/sys/fs/cgroup/cpu,cpuacct/user.slice")
        ))
    );
    assert!(layout.v1(Pids).is_some());
}

#[test]
fn hybrid_without_systemd() {
    let layout = parse(
        "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
",
        "8:pids:/\n4:memory:/api/31197d\n2:cpuacct:/\n1:cpu:/\n0::/\n",
    );
    let unified = "/sys/fs/cgroup/unified";
    assert_eq!(layout.v2, Some(hierarchy(unified, Some(unified))));
    assert_eq!(
        layout.v1(Memory),
        Some(&hierarchy(
            "/sys/fs/cgroup/memory",
            Some("/sys/fs/cgroup/memory/api/31197d")
        ))
    );
    let cpu = "/sys/fs/cgroup/cpu";
    assert_eq!(layout.v1(Cpu), Some(&hierarchy(cpu, Some(cpu))));
}

#[test]
fn version_2_under_a_user_manager() {
    let layout = parse(
        "\
29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
",
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope\n",
    );
    let own = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope";
    assert_eq!(layout.v2, Some(hierarchy("/sys/fs/cgroup", Some(own))));
    assert_eq!(layout.v1(Memory), None);
}

#[test]
fn container_with_a_cgroup_namespace() {
    let layout = parse(
        "1202 1198 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec - cgroup2 cgroup rw\n",
        "0::/\n",
    );
    let mount = "/sys/fs/cgroup";
    assert_eq!(layout.v2, Some(hierarchy(mount, Some(mount))));
}

#[test]
fn container_that_sees_its_part_of_the_hosts_hierarchy() {
    let mounts = "\
12 11 0:33 /docker/7fe1 /sys/fs/cgroup/memory ro,nosuid master:16 - cgroup cgroup rw,memory
13 11 0:35 /docker/7fe1 /sys/fs/cgroup/pids ro,nosuid master:18 - cgroup cgroup rw,pids
";
    let layout = parse(mounts, "4:memory:/docker/7fe1\n3:pids:/docker/7fe1/inner\n");
    let memory = "/sys/fs/cgroup/memory";
    assert_eq!(layout.v1(Memory), Some(&hierarchy(memory, Some(memory))));
    assert_eq!(
        layout.v1(Pids),
        Some(&hierarchy(
            "/sys/fs/cgroup/pids",
            Some("/sys/fs/cgroup/pids/inner")
        ))
    );
}

#[test]
fn a_cgroup_out_of_sight_is_unknown() {
    let mounts = "1 2 0:29 /docker/a /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    for outside in ["0::/docker/b\n", "0::/../b\n", "0::/\n", ""] {
        let layout = parse(mounts, outside);
        assert_eq!(layout.v2, Some(hierarchy("/sys/fs/cgroup", None)));
    }
    // The root of the mount lies above the namespace's.
    let layout = parse(
        "1 2 0:29 /.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
        "0::/\n",
    );
    assert_eq!(layout.v2, Some(hierarchy("/sys/fs/cgroup", None)));
}

#[test]
fn no_cgroups_at_all() {
    let layout = parse("21 1 0:19 / /proc rw - proc proc rw\n", "");
    assert_eq!(layout, Layout::default());
}

#[test]
fn odd_lines_are_passed_over() {
    let layout = parse(
        "\n1 2 3\n1 2 0:1 / /x rw - cgroup\n1 2 0:1 / /a\\040b\\134c\\9 rw - cgroup2 x rw\n",
        "\n0\n0:\n0::relative\n0::/in ner:x\n",
    );
    assert_eq!(
        layout.v2,
        Some(hierarchy("/a b\\c\\9", Some("/a b\\c\\9/in ner:x")))
    );
}
