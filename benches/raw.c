// The limit: the same exchange by a C program that does nothing else. One blocking socket, no event loop, no pool.
// raw PORT PATH AUTHORIZATION SECONDS CA|-     with a CA (and -DTLS) over TLS, by OpenSSL

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
static SSL *tls;
#endif

static int plain;

static void fail(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static ssize_t put(const char *data, size_t length) {
#ifdef TLS
    if (tls) return SSL_write(tls, data, (int)length);
#endif
    return write(plain, data, length);
}

static ssize_t take(char *data, size_t length) {
#ifdef TLS
    if (tls) return SSL_read(tls, data, (int)length);
#endif
    return read(plain, data, length);
}

static void open_connection(int port, const char *ca) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    plain = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(plain, (struct sockaddr *)&address, sizeof address)) fail("no connection");
    setsockopt(plain, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!strcmp(ca, "-")) return;
#ifdef TLS
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!SSL_CTX_load_verify_locations(context, ca, NULL)) fail("no certificates");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    tls = SSL_new(context);
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), "127.0.0.1");
    SSL_set_fd(tls, plain);
    if (SSL_connect(tls) != 1) fail("TLS: refused");
#else
    fail("built without TLS");
#endif
}

static void exchange(const char *request, size_t length) {
    char answer[4096], *body = NULL, *size;
    size_t had = 0, body_length = 0;
    if (put(request, length) != (ssize_t)length) fail("not sent");
    while (!body || had < (size_t)(body - answer) + body_length) {
        ssize_t got = take(answer + had, sizeof answer - 1 - had);
        if (got <= 0) fail("cut off");
        answer[had += (size_t)got] = 0;
        if (body || !(body = strstr(answer, "\r\n\r\n"))) continue;
        body += 4;
        if (strncmp(answer, "HTTP/1.1 200", 12)) fail("not 200");
        if (!(size = strstr(answer, "Content-Length: "))) fail("no length");
        body_length = strtoul(size + 16, NULL, 10);
    }
    if (strcmp(body, "{\"finished\": true}")) fail("another answer");
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

int main(int count, char **words) {
    if (count != 6) fail("raw PORT PATH AUTHORIZATION SECONDS CA|-");
    char request[1024];
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nAccept: application/json\r\nAuthorization: %s\r\n\r\n",
                          words[2], words[1], words[3]);
    open_connection(atoi(words[1]), words[5]);
    for (int i = 0; i < 50; i++) exchange(request, (size_t)length);
    double seconds = atof(words[4]), start = now(), start_cpu = cpu(), end;
    long calls = 0;
    do {
        for (int i = 0; i < 50; i++, calls++) exchange(request, (size_t)length);
    } while ((end = now()) - start < seconds);
    printf("{\"calls\": %ld, \"us\": %.3f, \"cpu_us\": %.3f}\n", calls, (end - start) / (double)calls * 1e6,
           (cpu() - start_cpu) / (double)calls * 1e6);
    return 0;
}
