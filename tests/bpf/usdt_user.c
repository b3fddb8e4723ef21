/* A program with static probes, their notes written out by hand: no systemtap header is needed. */
#define NOTE(provider, name, args) \
	"990: nop\n" \
	".pushsection .note.stapsdt,\"?\",\"note\"\n" \
	".balign 4\n" \
	".4byte 992f-991f, 994f-993f, 3\n" \
	"991: .asciz \"stapsdt\"\n" \
	"992: .balign 4\n" \
	"993: .8byte 990b\n" \
	".8byte _.stapsdt.base\n" \
	".8byte 0\n" \
	".asciz \"" provider "\"\n" \
	".asciz \"" name "\"\n" \
	".asciz \"" args "\"\n" \
	"994: .balign 4\n" \
	".popsection\n"

__asm__(".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
	".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"
	"_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n");

static __attribute__((noinline)) void fire(long value)
{
	long in_memory = value * 1000;
	register long *place __asm__("rbx") = &in_memory;

	__asm__ volatile(NOTE("bpflens_test", "three", "-4@%%eax 8@(%%rbx) 4@$77")
			 : : "a"(value), "r"(place), "m"(in_memory));
}

int main(int argc, char **argv)
{
	(void)argv;
	fire(-5);
	if (argc > 1)
		__asm__ volatile(NOTE("bpflens_test", "three", "8@%%rax 8@$1 8@$2") : : "a"(9L));
	return 0;
}
