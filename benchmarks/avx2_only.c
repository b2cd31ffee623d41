// Copyright 2026 ZegCLIP-ROS contributors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//     http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

// Preloaded, makes a processor answer CPUID like one with AVX2, FMA and nothing newer: Linux lets
// a process ask that CPUID traps (arch_prctl(2), ARCH_SET_CPUID), and the handler below asks the
// processor and hides the bits. So every library chooses the kernels that it has for AVX2.
// Threads inherit the trap, and what the process starts preloads this again. Programs that would
// handle SIGSEGV themselves, as compilers do to report it, are told that they now do.

#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (1u << (n))

// Leaf 7, subleaf 0: AVX512F, DQ, IFMA, PF, ER, CD, BW, VL.
static const unsigned kHidden70b =
    BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31);
// AVX512_VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, AVX512_VNNI, BITALG, VPOPCNTDQ.
static const unsigned kHidden70c =
    BIT(1) | BIT(6) | BIT(8) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | BIT(14);
// AVX512_4VNNIW, 4FMAPS, VP2INTERSECT, AMX_BF16, AVX512_FP16, AMX_TILE, AMX_INT8.
static const unsigned kHidden70d =
    BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25);
// Subleaf 1: SHA512, SM3, SM4, AVX_VNNI, AVX512_BF16, AMX_FP16, AVX_IFMA.
static const unsigned kHidden71a =
    BIT(0) | BIT(1) | BIT(2) | BIT(4) | BIT(5) | BIT(21) | BIT(23);
// AVX_VNNI_INT8, AVX_NE_CONVERT, AMX_COMPLEX, AVX_VNNI_INT16, AVX10.
static const unsigned kHidden71d = BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19);

typedef int (*Sigaction)(int, const struct sigaction *, struct sigaction *);
typedef sighandler_t (*Signal)(int, sighandler_t);

int sigaction(int number, const struct sigaction *wanted, struct sigaction *old) {
  if (number == SIGSEGV) wanted = NULL;
  return ((Sigaction)dlsym(RTLD_NEXT, "sigaction"))(number, wanted, old);
}

sighandler_t signal(int number, sighandler_t wanted) {
  return number == SIGSEGV ? SIG_DFL : ((Signal)dlsym(RTLD_NEXT, "signal"))(number, wanted);
}

static int trap(int on) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, on ? 0UL : 1UL); }

static void answer(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *code = (const unsigned char *)registers[REG_RIP];
  // The kernel's own signal for a trapped instruction; any other fault is a fault.
  if (info->si_code != SI_KERNEL || code[0] != 0x0f || code[1] != 0xa2) {
    ((Signal)dlsym(RTLD_NEXT, "signal"))(number, SIG_DFL);
    return;
  }
  unsigned a, b, c, d, leaf = registers[REG_RAX], subleaf = registers[REG_RCX];
  trap(0);
  __cpuid_count(leaf, subleaf, a, b, c, d);
  trap(1);
  if (leaf == 7 && subleaf == 0) {
    b &= ~kHidden70b;
    c &= ~kHidden70c;
    d &= ~kHidden70d;
  } else if (leaf == 7 && subleaf == 1) {
    a &= ~kHidden71a;
    d &= ~kHidden71d;
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
  struct sigaction action = {0};
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  Sigaction install = (Sigaction)dlsym(RTLD_NEXT, "sigaction");
  if (install(SIGSEGV, &action, NULL) || trap(1)) {
    perror("avx2_only: this processor or kernel cannot trap CPUID");
    _exit(1);
  }
}
