# Builds $(NAME).wasm from the C sources beside the Makefile that includes this:
#
#     NAME := echo
#     SDK := path/to/guest-sdk/c
#     include $(SDK)/waterspout.mk
#
# With the WASI SDK, if WASI_SDK_PATH says where it is; else with zig from PyPI, in the project's .venv or what python3 has.
# SOURCES, CFLAGS and LDFLAGS may be set before, or on make's command line.

SOURCES ?= $(wildcard *.c src/*.c)

# What the environment has is meant for programs of this machine.
ifneq ($(filter undefined environment,$(origin CFLAGS)),)
CFLAGS := -Os -std=gnu11 -Wall -Wextra
endif
ifeq ($(origin LDFLAGS),environment)
LDFLAGS :=
endif

ifdef WASI_SDK_PATH
WASI_CC ?= $(WASI_SDK_PATH)/bin/clang --target=wasm32-wasip1
# Before what is said where nothing is set.
NO_WASI_SDK := test -x "$(WASI_SDK_PATH)/bin/clang" || echo "WASI_SDK_PATH is $(WASI_SDK_PATH), where there is no bin/clang" >&2;
else
WASI_CC ?= $(or $(wildcard .venv/bin/python),python3) -m ziglang cc -target wasm32-wasi
endif

SDK_SOURCES := $(wildcard $(SDK)/src/*.c $(SDK)/src/bindings/*.c)
SDK_HEADERS := $(wildcard $(SDK)/include/*.h $(SDK)/src/*.h $(SDK)/src/bindings/*.h)

$(NAME).wasm: $(SOURCES) $(wildcard *.h src/*.h) $(SDK_SOURCES) $(SDK_HEADERS) $(MAKEFILE_LIST)
	@$(WASI_CC) --version >/dev/null || { $(NO_WASI_SDK)echo "no compiler: run \`python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1\` here, or set WASI_SDK_PATH to a WASI SDK (github.com/WebAssembly/wasi-sdk)" >&2; exit 1; }
	$(WASI_CC) -mexec-model=reactor $(CFLAGS) -I$(SDK)/include $(SOURCES) $(SDK_SOURCES) -Wl,--strip-debug $(LDFLAGS) -o $@.partial
	@mv $@.partial $@

.PHONY: clean
clean:
	rm -f $(NAME).wasm $(NAME).wasm.partial
