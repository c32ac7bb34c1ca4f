/* A disk that becomes slow: while the file $SLOW_DISK exists, its content is the milliseconds that each flush takes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void delay(void) {
    const char *name = getenv("SLOW_DISK");
    FILE *file = name == NULL ? NULL : fopen(name, "r");
    unsigned milliseconds = 0;
    if (file == NULL)
        return;
    if (fscanf(file, "%u", &milliseconds) == 1)
        usleep(milliseconds * 1000);
    fclose(file);
}

typedef int (*flush)(int);

int fsync(int descriptor) {
    delay();
    return ((flush)dlsym(RTLD_NEXT, "fsync"))(descriptor);
}

int fdatasync(int descriptor) {
    delay();
    return ((flush)dlsym(RTLD_NEXT, "fdatasync"))(descriptor);
}
