/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/unreached.h"

#include "cli/print.h"

#include <string.h>

/** `text` behind the last `mark`, or all of it. */
static const char *behind(const char *text, const char *mark) {
    for (const char *found; (found = strstr(text, mark)) != NULL;) text = found + strlen(mark);
    return text;
}

bool unreached_is_told(const char *message) {
    static const char *const sentences[] = {"failed to connect to all addresses", "DNS resolution failed",
                                            "empty address list"};
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++) {
        if (strstr(message, sentences[i]) != NULL) return true;
    }
    return false;
}

void unreached_cause(const char *message, char out[UNREACHED_CAUSE_BYTES]) {
    const char *cause = behind(behind(message, ": "), "routines::"); /* OpenSSL's */
    print_clean_to(cause[0] != 0 ? cause : message, out, UNREACHED_CAUSE_BYTES);
}

void unreached_advise(FILE *file, const struct connection *connection, const char *message, const char *indent) {
    const bool tls = connection->tls;
    if (strstr(message, "http1.x server") != NULL) {
        fprintf(file, "%sit speaks HTTP, not gRPC; the gateway's gRPC address is another one (its --grpc-listen)\n",
                indent);
    } else if (strstr(message, "wrong version number") != NULL) {
        fprintf(file, "%sno TLS is spoken there: leave out --tls, and the other --tls options and settings\n", indent);
    } else if (strstr(message, "certificate verify failed") != NULL && connection->tls_authority != NULL) {
        fprintf(file, "%sits certificate is not from an authority in ", indent);
        print_masked(file, connection->tls_authority);
        fputs(", or is not valid today\n", file);
    } else if (strstr(message, "certificate verify failed") != NULL) {
        fprintf(file,
                "%sits certificate is from no authority that this system trusts, or is not valid today; --tls-ca-file "
                "trusts another\n",
                indent);
    } else if (strstr(message, "not in peer certificate") != NULL) {
        fprintf(file, "%sits certificate is for other names: ask it by one of those\n", indent);
    } else if (strstr(message, "Socket closed") != NULL && !tls) {
        fprintf(file, "%sif it speaks TLS: --tls, or --tls-ca-file FILE\n", indent);
    } else if (strstr(message, "Socket closed") != NULL && connection->tls_shown) {
        fprintf(file, "%sit may not trust the certificate that was shown to it\n", indent);
    } else if (strstr(message, "Socket closed") != NULL) {
        fprintf(file, "%sit may want a certificate: --tls-certificate-file and --tls-key-file\n", indent);
    }
}
