# prune-cli. `make help` lists what can be made; ARGS="KEY=VALUE …" goes to the command.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

# torch and torchvision are built for each other, so they are installed together and by version
ifeq ($(shell uname -m),aarch64)
TORCH  ?= torch==2.9.1 torchvision==0.24.1
else
TORCH  ?= torch==2.14.1 torchvision==0.29.1
endif

MICRO    := vit_micro mixer_micro poolformer_micro
PACKAGED := prune_cli/models/packaged
SEEDS    := 0,1,2,3,4
# the report's reading of the source and the other one, raw and less surrogates
MEASURES := scorer=transfer_entropy,mutual_information scorer.source=output,label scorer.surrogates=0,100
# four times the clips: with 1,000 a class the LSTM learns the textures by heart
TEXTURE_CLIPS := dataset.train_clips_per_class=4000

.DEFAULT_GOAL := help
.PHONY: help setup demo data fashion-mnist latex prune sweep study video study-video table1 table2 pretrain pretrain-scales pretrain-video lint format test test-all coverage docs bench clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Make the virtual environment, or bring it up to date

# the kernels of sparse layers are compiled with the package
$(VENV)/.ready: pyproject.toml $(wildcard prune_cli/runtime/*.c prune_cli/runtime/*.inc)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: setup ## Prune a pre-trained Transformer to 98 % on real digits, against random pruning, and print the table
	$(BIN)/prune-cli sweep experiment=demo $(ARGS)

data: setup ## Build the datasets that need no download
	$(BIN)/prune-cli build-data dataset=mnist5k

fashion-mnist: ## Install Fashion-MNIST from Debian's package dataset-fashion-mnist (asks for root)
	@command -v apt-get >/dev/null || { echo "no apt-get here: give prune-cli dataset.root=FOLDER with the four IDX files" >&2; exit 2; }
	test -d /usr/share/datasets/fashion-mnist || { set -e; root=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$root apt-get update --quiet; $$root apt-get install --yes --quiet dataset-fashion-mnist; }

latex: ## Install what compiles the tables, from Debian's package texlive-latex-recommended (asks for root; for test-all)
	@command -v apt-get >/dev/null || { echo "no apt-get here: install TeX Live with booktabs (pdflatex)" >&2; exit 2; }
	kpsewhich booktabs.sty >/dev/null 2>&1 || { set -e; root=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$root apt-get update --quiet; \
	  $$root apt-get install --yes --quiet --no-install-recommends texlive-latex-recommended; }

prune: setup ## One run: make prune ARGS="scorer=snip sparsity=95"
	$(BIN)/prune-cli prune $(ARGS)

sweep: setup ## Five methods at three sparsities, two seeds, or ARGS
	$(BIN)/prune-cli sweep $(or $(ARGS),experiment=rivals_micro)

study: setup ## The tables and drift figures of the results' pages on a laptop, into docs/study (about 2 hours on 2 idle cores)
	$(BIN)/prune-cli sweep experiment=table1_micro --results-dir docs/study/table1_micro
	$(BIN)/prune-cli sweep experiment=table2_micro --results-dir docs/study/table2_micro
	set -e; for model in $(MICRO); do \
	  $(BIN)/prune-cli drift model=$$model dataset=mnist5k --results-dir docs/study/drift_$$model; done

video: setup ## The video half: both datasets, Figure 4 from packaged weights, units removed by three scores (7 minutes on 2 cores)
	$(BIN)/prune-cli build-data dataset=action_mnist
	$(BIN)/prune-cli build-data dataset=uiuc_video
	$(BIN)/prune-cli ablate model=lstm128 dataset=action_mnist,uiuc_video --results-dir results/video
	$(BIN)/prune-cli sweep experiment=units --results-dir results/video

study-video: setup ## Figure 4 of the results' pages over five training seeds, into docs/study/video (about 3 hours on 2 idle cores)
	$(BIN)/prune-cli ablate model=lstm128 dataset=action_mnist model.weights=random recipe.epochs=5 seed=$(SEEDS) \
	  $(MEASURES) compute.threads=1 --results-dir docs/study/video/action_mnist
	$(BIN)/prune-cli ablate model=lstm128 dataset=uiuc_video $(TEXTURE_CLIPS) model.weights=random recipe=recurrent \
	  recipe.epochs=6 seed=$(SEEDS) $(MEASURES) compute.threads=1 --results-dir docs/study/video/uiuc_video
	$(BIN)/python tools/video_tables.py

table1: setup ## Table 1 again, from the runs of the last sweep
	$(BIN)/prune-cli table 1 $(ARGS)

table2: setup ## Table 2 again, from the runs of the last sweep
	$(BIN)/prune-cli table 2 $(ARGS)

pretrain: setup fashion-mnist ## Make the packaged weights of the micro models again (about 1.5 hours on 2 cores)
	set -e; for model in $(MICRO); do \
	  $(BIN)/prune-cli train model=$$model dataset=fashion_mnist dataset.validation=0 recipe=pretrain \
	    --export $(PACKAGED)/$$model.safetensors; done

pretrain-scales: setup fashion-mnist ## The same from 6,000 and from 600 images, for drift (about 20 minutes on 2 cores)
	set -e; for model in $(MICRO); do for images in 6000 600; do \
	  $(BIN)/prune-cli train model=$$model dataset=fashion_mnist dataset.validation=0 \
	    dataset.train_images=$$images recipe=pretrain --export $(PACKAGED)/$$model.$$images.safetensors; done; done

pretrain-video: setup ## Make the packaged weights of lstm128 again (half an hour on 2 cores)
	$(BIN)/prune-cli train model=lstm128 dataset=action_mnist --export $(PACKAGED)/lstm128.action_mnist.safetensors
	$(BIN)/prune-cli train model=lstm128 dataset=uiuc_video $(TEXTURE_CLIPS) recipe=recurrent \
	  --export $(PACKAGED)/lstm128.uiuc_video.safetensors

lint: setup ## ruff, mypy and the contract of the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# a file of tests stays in one process, where its costly fixtures are made once
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: setup ## The tests, two files at a time
	$(PYTEST) $(ARGS)

test-all: setup ## The tests with the slow ones: the wheel in an environment of its own, Ray, big models, sweeps killed 25 times, LaTeX (make latex)
	$(PYTEST) -m '' $(ARGS)

coverage: setup ## The branches that the tests of `make test` reach, by file
	$(PYTEST) --cov --cov-branch --cov-report term:skip-covered $(ARGS)

docs: setup ## The pages under docs/ as a site, in site/, from what is here alone; a broken link or anchor fails
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

bench: setup ## The benchmarks: selection, training steps, a scoring of ViT-B/16, files, builders of clips, information of units, planning, start-up
	$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	$(BIN)/python benchmarks/select_global.py
	$(BIN)/python benchmarks/survivor_step.py
	$(BIN)/python benchmarks/sparse_step.py
	$(BIN)/python benchmarks/file_sizes.py
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/builders.py
	$(BIN)/python benchmarks/information.py
	$(BIN)/python benchmarks/planning.py
	$(BIN)/python benchmarks/startup.py

clean: ## Remove what was built, but neither runs, results, data nor the virtual environment
	rm -rf build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
