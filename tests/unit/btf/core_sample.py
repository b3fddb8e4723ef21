"""A program that asks every kind of CO-RE question, and two kernels to ask."""

from __future__ import annotations

LOCAL = """
typedef unsigned int u32; typedef unsigned long u64; typedef unsigned char u8;
enum state { IDLE, BUSY = 7, GONE = -3 };
enum wide { W_A = 1, W_B = 0x100000000UL };
enum nowhere { N_A };
struct inner { int x; int y; };
struct only_local { int a; };
struct flags { int f; };
typedef struct { int q; } anon_t;
struct task {
    int pid;
    u32 small;                       /* u64 in the target */
    int signed_small;                /* long in the target: cannot be read */
    struct task *parent;
    char comm[16];
    struct inner in[4];
    union { int a; long b; };
    struct { struct { int deep; }; };
    u32 bits1 : 3, bits2 : 7;
    int sbits : 5;
    long gone;
    enum state state;
    u8 unsigned_byte;
    struct inner tail[0];
};
struct task___flavour { int new_field; };
union either { int i; u64 l; };
#define R __attribute__((preserve_access_index))
#define FIELD(x, k) __builtin_preserve_field_info(x, k)
#define TYPE(t, k) __builtin_preserve_type_info(*(t *)0, k)
#define ENUM(t, v, k) __builtin_preserve_enum_value(*(t *)v, k)
#define ID(t, k) __builtin_btf_type_id(*(t *)0, k)
#define P(x) __builtin_preserve_access_index(x)
volatile u64 out;
static void *(*const probe)(const void *) = (void *)113;
#define ADDR(x) probe(P(&x))
__attribute__((section("raw_tp/x"))) int prog(void *ctx)
{
    struct task *t = *(struct task **)ctx;
    struct task___flavour *f = (void *)t;
    union either *e = (void *)t;
    out = P(t->pid); out = (u64)P(t->parent); out = P(t->small);
    out = P(t->unsigned_byte);
    out = P(t->in[2].y); out = P(t->a); out = P(t->deep); out = P(t->comm[3]);
    out = P(e->l); out = P(f->new_field); out = P(t[2].pid);
    ADDR(t->tail[5].y); ADDR(t->comm); ADDR(t->in[1]); ADDR(t->b);
    out = FIELD(t->pid, 0); out = FIELD(t->pid, 1); out = FIELD(t->pid, 2); out = FIELD(t->pid, 3);
    out = FIELD(t->gone, 2); out = FIELD(t->small, 1); out = FIELD(t->small, 3);
    out = FIELD(f->new_field, 2);
    out = FIELD(t->state, 3); out = FIELD(t->state, 1); out = FIELD(t->comm, 1);
    out = FIELD(t->bits1, 0); out = FIELD(t->bits1, 1); out = FIELD(t->bits1, 3);
    out = FIELD(t->bits1, 4); out = FIELD(t->bits1, 5);
    out = FIELD(t->bits2, 0); out = FIELD(t->bits2, 1); out = FIELD(t->bits2, 4);
    out = FIELD(t->bits2, 5); out = FIELD(t->sbits, 3); out = FIELD(t->sbits, 4);
    out = FIELD(t->sbits, 5); out = FIELD(t->sbits, 0); out = FIELD(t->in[1].x, 0);
    out = FIELD(t->in[3], 1);
    out = ID(struct task, 0); out = ID(struct task, 1); out = ID(struct only_local, 1);
    out = ID(u32, 1); out = ID(enum state, 1);
    out = TYPE(struct task, 0); out = TYPE(struct task, 1); out = TYPE(struct only_local, 0);
    out = TYPE(struct only_local, 1); out = TYPE(u32, 0); out = TYPE(u32, 1);
    out = TYPE(anon_t, 0); out = TYPE(union either, 1); out = TYPE(enum state, 1);
    out = TYPE(struct inner, 2); out = TYPE(struct flags, 2); out = TYPE(enum state, 2);
    out = TYPE(union either, 2); out = TYPE(struct task, 2); out = TYPE(struct only_local, 2);
    out = ENUM(enum state, BUSY, 0); out = ENUM(enum state, BUSY, 1);
    out = ENUM(enum state, GONE, 0); out = ENUM(enum wide, W_B, 0); out = ENUM(enum wide, W_B, 1);
    out = ENUM(enum nowhere, N_A, 0); out = ENUM(enum state, IDLE, 1);
    %(extra)s
    return 0;
}
char _license[] __attribute__((section("license"))) = "GPL";
"""

# What cannot be answered on the target: each makes its instruction invalid.
POISONED = """
    out = P(t->gone); out = ENUM(enum state, GONE, 1); out = ENUM(enum nowhere, N_A, 1);
    out = P(t->signed_small); out = FIELD(t->gone, 0);
"""

TARGET = """
typedef unsigned int u32; typedef unsigned long u64; typedef unsigned char u8;
enum state { NEW, IDLE, BUSY = 9, MORE = -70000 };
enum wide { W_A = 1, W_B = 0x300000000UL };
struct flags { long f; };
typedef struct { int q; int r; } anon_t;
struct inner { long pad; int y; int x; };
struct task {
    long first;
    struct { int pad; union { long other; struct { int pid; }; }; };
    u64 small;
    long signed_small;
    char comm[32];
    struct inner in[8];
    int sep : 5; u32 bits1 : 3; u32 bits2 : 9; long : 20; long sbits : 12;
    long b; int a;
    struct { int deep2; struct { int deep; }; };
    struct task *parent;
    enum state state;
    unsigned short unsigned_byte;
    int new_field;
    struct inner tail[];
};
union either { char c; u64 l; int i; };
#define AT(m) __builtin_offsetof(struct task, m)
const volatile unsigned long want[] = {
    AT(pid), AT(in[2].y), AT(deep), AT(tail[5].y), AT(new_field), AT(comm[3]), AT(parent),
};
struct task t; union either e; anon_t n; struct flags f; enum wide w;
"""
