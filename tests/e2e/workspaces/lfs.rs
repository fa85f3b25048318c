//! Git LFS, with Debian's git-lfs on both sides.

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;

use super::{ME, shell};

wardian_tests::both_modes!(large_files_stay_pointers_and_their_content_comes_back);

fn large_files_stay_pointers_and_their_content_comes_back(mode: Mode) {
    let host = Host::new(mode);
    shell(
        &host,
        "git init -q -b main .; git lfs install --local --skip-repo
         echo '*.bin filter=lfs diff=lfs merge=lfs -text' >.gitattributes
         seq 1 20000 >old.bin; git add .; git commit -qm base",
    );
    // Debian's package sets LFS up for the whole system; this is about what the user has set up.
    let run = host.shell(&format!(
        "{ME} export GIT_CONFIG_NOSYSTEM=1; test -z \"$(git status --porcelain)\"
         test \"$(tail -n1 old.bin)\" = 20000; seq 1 30000 >new.bin; echo more >>old.bin
         git add .; git commit -qm large"
    ));
    let name = run.name().to_owned();
    run.finish().success();
    host.wardian(&["apply", &name]).success();
    shell(
        &host,
        &format!("git merge -q wardian/{name}; git fsck --strict"),
    );
    for (file, lines) in [("new.bin", "30000"), ("old.bin", "20001")] {
        let stored = shell(&host, &format!("git cat-file blob HEAD:{file}"));
        assert!(
            stored.starts_with("version https://git-lfs"),
            "{stored:.80}"
        );
        let seen = shell(&host, &format!("wc -l <{file}"));
        assert_eq!(seen.trim(), lines, "{file}");
    }
    shell(&host, "git lfs fsck; test -z \"$(git status --porcelain)\"");
}
