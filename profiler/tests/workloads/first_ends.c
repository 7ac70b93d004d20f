// A process whose first thread ends while another goes on. The first is a zombie then, and the kernel tells nothing of the
// process's memory by its pid. It ends when its input does.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *go_on(void *first) {
    pthread_join(*(pthread_t *)first, NULL);
    printf("READY\n");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {
        free(malloc(100));
    }
    exit(0);
}

int main(void) {
    static pthread_t first;
    first = pthread_self();
    pthread_t other;
    if (pthread_create(&other, NULL, go_on, &first) != 0) {
        return 1;
    }
    pthread_exit(NULL);
}
