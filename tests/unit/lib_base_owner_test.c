/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/owner.h"

enum { SERVICE = 61234, STRANGER = 61235, REFUSED = 1 };

struct place {
    char directory[64];
};

static int setup(void **state)
{
    struct place *place = memory_alloc(1, sizeof *place);
    snprintf(place->directory, sizeof place->directory, "/tmp/bidlake-owner-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    assert_int_equal(chmod(place->directory, 0755), 0);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    struct error err;
    assert_int_equal(file_remove_tree(place->directory, &err), OK);
    free(place);
    return 0;
}

static void make_folder(const struct place *place, const char *name, uid_t owner)
{
    char *path = memory_printf("%s/%s", place->directory, name);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(chown(path, owner, owner), 0);
    free(path);
}

static void make_link(const struct place *place, const char *target, const char *name, uid_t owner)
{
    char *path = memory_printf("%s/%s", place->directory, name);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(lchown(path, owner, owner), 0);
    free(path);
}

/* Who a process of root's is afterwards; REFUSED: it is told off. */
static uid_t becomes(const struct place *place, const char *name)
{
    char *path = memory_printf("%s/%s", place->directory, name);
    int ends[2];
    uid_t found = REFUSED;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct error err;
        log_set_level(LOG_LEVEL_ERROR);
        setenv("HOME", "/root", 1);
        uid_t now = REFUSED;
        if (owner_become(path, &err) == OK) {
            now = geteuid();
            gid_t groups[16];
            int count = getgroups(16, groups);
            bool whole = getuid() == now && getegid() == (gid_t)now && getgid() == (gid_t)now;
            if (now != 0 && (!whole || count > 1 || (count == 1 && groups[0] != (gid_t)now)))
                abort();
            const struct passwd *user = getpwuid(now);
            const char *home = user != NULL ? user->pw_dir : getenv("HOME");
            if (now != 0 && strcmp(getenv("HOME"), home) != 0)
                abort();
        }
        ssize_t n = write(ends[1], &now, sizeof now);
        _exit(n == sizeof now ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], &found, sizeof found), sizeof found);
    close(ends[0]);
    close(ends[1]);
    free(path);
    return found;
}

static void only_for_root(void)
{
    if (geteuid() != 0)
        skip();
}

/* What root makes there the service could not open. */
static void root_goes_on_as_the_owner(void **state)
{
    only_for_root();
    const struct place *place = *state;
    make_folder(place, "lib", 0);
    assert_int_equal(becomes(place, "lib"), 0);
    assert_int_equal(becomes(place, "lib/none/below"), 0);
    make_folder(place, "lib/service", SERVICE);
    assert_int_equal(becomes(place, "lib/service"), SERVICE);
    assert_int_equal(becomes(place, "lib//service/./spool/none/yet"), SERVICE);
    make_folder(place, "lib/service/spool", SERVICE);
    assert_int_equal(becomes(place, "lib/service/spool/"), SERVICE);
    /* By mistake: the service can't write there, and so can't we; nothing of root's comes in. */
    make_folder(place, "lib/service/roots", 0);
    assert_int_equal(becomes(place, "lib/service/roots"), SERVICE);
}

/* What root has at home (AWS's shared files) is refused to the owner, who would say so instead
 * of looking where he has it. */
static void he_has_a_home_of_his_own(void **state)
{
    only_for_root();
    const struct place *place = *state;
    const struct passwd *nobody = getpwnam("nobody");
    if (nobody == NULL)
        skip();
    make_folder(place, "home", nobody->pw_uid);
    assert_int_equal(becomes(place, "home"), nobody->pw_uid);
}

/* Who has taken the service over would have root write where a link leads. */
static void a_link_of_the_owner_leads_nowhere_else(void **state)
{
    only_for_root();
    const struct place *place = *state;
    make_folder(place, "roots", 0);
    make_folder(place, "strangers", STRANGER);
    make_folder(place, "service", SERVICE);
    make_link(place, "../roots", "service/to-root", SERVICE);
    make_link(place, "../strangers", "service/to-stranger", SERVICE);
    make_link(place, "/none", "service/to-none", SERVICE);
    assert_int_equal(becomes(place, "service/to-root"), SERVICE);
    assert_int_equal(becomes(place, "service/to-root/below"), SERVICE);
    assert_int_equal(becomes(place, "service/to-stranger"), SERVICE);
    assert_int_equal(becomes(place, "service/to-none/below"), SERVICE);
    make_link(place, "roots", "planted", SERVICE); /* as in a folder that all may write */
    assert_int_equal(becomes(place, "planted/below"), SERVICE);
}

/* A volume of its own is often linked to; root's links are no trap. */
static void a_link_of_root_is_followed(void **state)
{
    only_for_root();
    const struct place *place = *state;
    make_folder(place, "data", 0);
    make_folder(place, "data/service", SERVICE);
    make_link(place, "data", "relative", 0);
    char *absolute = memory_printf("%s/relative/service", place->directory);
    make_link(place, absolute, "absolute", 0);
    free(absolute);
    make_link(place, "circle", "circle", 0);
    assert_int_equal(becomes(place, "relative/service"), SERVICE);
    assert_int_equal(becomes(place, "absolute"), SERVICE);
    assert_int_equal(becomes(place, "absolute/../../data"), SERVICE);
    assert_int_equal(becomes(place, "circle/below"), REFUSED);
}

/* Neither is right: the one can't open it, the other can be led astray by the one. */
static void a_third_ones_is_refused(void **state)
{
    only_for_root();
    const struct place *place = *state;
    make_folder(place, "stranger", STRANGER);
    make_folder(place, "stranger/spool", SERVICE);
    assert_int_equal(becomes(place, "stranger/spool"), REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(root_goes_on_as_the_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(he_has_a_home_of_his_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_of_the_owner_leads_nowhere_else, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_of_root_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_third_ones_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
