/* Resolves the names below `.test` to this machine, unless the file named by JETON_TEST_RESOLVER lists them, a line each: those
 * are not resolved, as when no name server answers. All other names are left as they are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*resolve)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int fails(const char *name) {
    const char *path = getenv("JETON_TEST_RESOLVER");
    FILE *list = path == NULL ? NULL : fopen(path, "re");
    if (list == NULL) return 0;
    char line[256];
    int found = 0;
    while (!found && fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strcmp(line, name) == 0;
    }
    fclose(list);
    return found;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    resolve next = (resolve)dlsym(RTLD_NEXT, "getaddrinfo");
    size_t length = name == NULL ? 0 : strlen(name);
    if (length < 5 || strcmp(name + length - 5, ".test") != 0) return next(name, service, hints, found);
    if (fails(name)) return EAI_AGAIN;
    return next("127.0.0.1", service, hints, found);
}
