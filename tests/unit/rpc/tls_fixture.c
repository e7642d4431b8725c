/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rpc/tls_fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/bora-test-XXXXXX";

static const char make_certificates[] =
    "set -e; cd \"$0\"\n"
    "key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'\n"
    "for authority in ours theirs; do\n"
    "  openssl req -x509 $key -subj /CN=$authority -keyout $authority.key -out $authority.pem\n"
    "  for who in server client local caller; do\n"
    "    case $who in local) names=DNS:localhost,IP:127.0.0.1 ;; *) names=DNS:bora.test ;; esac\n"
    "    case $who in caller) use=clientAuth ;; *) use=serverAuth,clientAuth ;; esac\n"
    "    openssl req -x509 $key -subj /CN=$who -addext subjectAltName=$names -addext basicConstraints=CA:FALSE \\\n"
    "      -addext extendedKeyUsage=$use \\\n"
    "      -CA $authority.pem -CAkey $authority.key -keyout $authority-$who.key -out $authority-$who.pem\n"
    "  done\n"
    "done\n";

int make_pki(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    char script[sizeof folder + 20], command[128];
    snprintf(script, sizeof script, "%s/make.sh", folder);
    FILE *file = fopen(script, "w");
    if (file == NULL) return -1;
    fputs(make_certificates, file);
    fclose(file);
    snprintf(command, sizeof command, "sh -c \"$(cat %s)\" %s >%s/log 2>&1", script, folder, folder);
    return system(command) == 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *place) {
    (void)facts, (void)kind, (void)place;
    return remove(path);
}
int remove_pki(void **state) {
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *pki_file(const char *name) {
    static char places[32][sizeof folder + 32];
    static int next;
    char *place = places[next++ % 32];
    snprintf(place, sizeof places[0], "%s/%s", folder, name);
    return place;
}
