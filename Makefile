# Copyright 2026 ZegCLIP-ROS contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# What a newcomer needs: `make demo` and `make test` do all the set-up by themselves.

SHELL := /bin/bash
PYTHON_OF_VENV := .venv/bin/python
# Extra arguments, e.g. make test ARGS='-k vocabulary'
ARGS ?=

# A shell that has sourced a ROS 2 from apt would mix its packages with those of .venv.
unexport PYTHONPATH AMENT_PREFIX_PATH COLCON_PREFIX_PATH CMAKE_PREFIX_PATH
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: help setup demo test lint fuzz fuzz-files soak bench bench-node gpu gpu-bundle ablation clean distclean

help:
	@echo 'make setup      create .venv with every pinned package (the others do it by themselves)'
	@echo 'make demo       camera, segmentation and recorder as three processes; writes demo_output/'
	@echo 'make test       run all tests;              ARGS="-k vocabulary" picks some'
	@echo 'make lint       run the linters alone'
	@echo 'make fuzz       hostile messages and files, minutes;    FUZZ_ARGS="--hypothesis-seed=2"'
	@echo 'make fuzz-files damaged files alone;       FILE_FUZZ_ARGS="--seed 2 --kinds PNG"'
	@echo 'make soak       the same, then the node kept busy for 20 minutes, memory watched'
	@echo 'make bench      speed of the model, ten minutes on two cores;  ARGS="--write-docs"'
	@echo 'make gpu        on a machine with a GPU, ten minutes: tests, speed;  PYTHON=python3'
	@echo 'make gpu-bundle an archive for a GPU machine without a package index'
	@echo 'make bench-node latency that the node adds, 5 minutes;  ARGS="--slow --write-docs"'
	@echo 'make ablation   train and score the steps of the paper, hours;  ABLATION_ARGS="--seeds 0"'
	@echo 'make clean      remove build outputs, caches and demo_output/'
	@echo 'make distclean  remove .venv as well'

setup:
	@bash scripts/setup_venv.sh

demo:
	@bash scripts/setup_venv.sh demo
	@echo '==> Demo: three processes over DDS, about a minute; results go to demo_output/'
	@$(PYTHON_OF_VENV) -m zegclip_ros.demo --out demo_output $(ARGS)

test: setup
	@echo '==> Tests'
	@bash scripts/run_tests.sh $(PYTHON_OF_VENV) $(ARGS)

lint: setup
	@echo '==> Linters'
	@$(PYTHON_OF_VENV) -m pytest -q -m linter test $(ARGS)

fuzz: setup
	@echo '==> Fuzz: hostile messages, some minutes; results go to runs/fuzz/'
	@$(PYTHON_OF_VENV) -m pytest -q -s -p no:cacheprovider test/benchmarks/test_fuzz.py \
		--hypothesis-profile=fuzz --hypothesis-seed=1 $(FUZZ_ARGS)
	@$(MAKE) fuzz-files

fuzz-files: setup
	@echo '==> Fuzz: 5000 damaged files, some minutes; results go to runs/file_fuzz/'
	@$(PYTHON_OF_VENV) -m benchmarks.file_fuzz $(FILE_FUZZ_ARGS)

soak: fuzz
	@echo '==> Soak: the node is kept busy, 20 minutes unless told; results go to runs/soak/'
	@$(PYTHON_OF_VENV) -m benchmarks.soak $(SOAK_ARGS)

BENCH = $(PYTHON_OF_VENV) -m benchmarks.speed --json runs/benchmark.json --plots runs/benchmark

bench: setup
	@echo '==> Speed of the model, about ten minutes on two cores; results go to runs/'
	@mkdir -p runs
	@$(BENCH) $(ARGS)

# Installs nothing: takes PYTHON, else .venv, else python3. ARGS="--device cpu --quick" is a dry run.
PYTHON ?= $(or $(wildcard $(PYTHON_OF_VENV)),python3)
gpu:
	@$(PYTHON) -m benchmarks.gpu $(ARGS)

gpu-bundle:
	@$(PYTHON) -m benchmarks.gpu_packages

bench-node: setup
	@echo '==> Latency of the node, about five minutes; results go to runs/node_latency/'
	@$(PYTHON_OF_VENV) -m benchmarks.node_latency $(ARGS)

ablation: setup
	@echo '==> Ablation: five steps, three seeds each, hours; results go to runs/ablation/'
	@$(PYTHON_OF_VENV) -m benchmarks.ablation $(ABLATION_ARGS)

clean:
	rm -rf build install log dist demo_output .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name '*.egg-info' \) \
		-type d -print0 | xargs -0 rm -rf

distclean: clean
	rm -rf .venv
