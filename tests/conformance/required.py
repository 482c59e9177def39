"""Every item of the specs that this product must conform to: name and place, no prose.

One item per row: line of the spec document, kind, name. A name says entity and field, then after a space the value,
rule or text in question; its last word tells items on one line apart. Relationships between entities show in
the fields and have no rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

KINDS = frozenset({"entity", "field", "enum", "default", "range", "transition", "error", "metric", "file", "rule"})

SPEC_001 = """
13 entity ModelCheckpoint
18 field ModelCheckpoint.weights
19 field ModelCheckpoint.config
20 field ModelCheckpoint.metadata
21 field ModelCheckpoint.version
22 field ModelCheckpoint.checksum
29 rule ModelCheckpoint all weights present
30 rule ModelCheckpoint config matches architecture
31 rule ModelCheckpoint checksum validates on load
32 rule ModelCheckpoint version compatible
35 transition ModelCheckpoint Created→Saved
36 transition ModelCheckpoint Saved→Loaded
37 transition ModelCheckpoint Loaded→Validated
39 entity ModelConfig
44 field ModelConfig.vocab_size
45 field ModelConfig.n_layer
46 field ModelConfig.n_head
47 field ModelConfig.n_kv_head
48 field ModelConfig.n_embd
49 field ModelConfig.sequence_len
50 field ModelConfig.block_size
51 field ModelConfig.dropout
58 rule ModelConfig n_embd divisible by n_head
59 rule ModelConfig n_head divisible by n_kv_head
60 rule ModelConfig n_kv_head at most n_head
61 range ModelConfig.sequence_len
61 range ModelConfig.block_size
62 range ModelConfig.dropout
64 entity Tokenizer
69 field Tokenizer.vocab
70 field Tokenizer.vocab_inverse
71 field Tokenizer.special_tokens
72 field Tokenizer.vocab_size
73 field Tokenizer.merges
80 rule Tokenizer vocab and inverse consistent
81 rule Tokenizer special tokens in vocab
82 rule Tokenizer vocab size matches
83 rule Tokenizer merges valid
86 transition Tokenizer Untrained→Training
86 transition Tokenizer Training→Trained
86 transition Tokenizer Trained→Loaded
88 entity TrainingConfiguration
93 field TrainingConfiguration.model_config
94 field TrainingConfiguration.optimizer_config
95 field TrainingConfiguration.batch_size
96 field TrainingConfiguration.device_batch_size
97 field TrainingConfiguration.gradient_accumulation_steps
98 field TrainingConfiguration.max_steps
99 field TrainingConfiguration.checkpoint_interval
100 field TrainingConfiguration.learning_rate_schedule
101 field TrainingConfiguration.warmup_steps
108 rule TrainingConfiguration batch sizes positive
109 rule TrainingConfiguration gradient accumulation positive
110 rule TrainingConfiguration learning rate positive
111 rule TrainingConfiguration warmup at most max_steps
113 entity OptimizerConfig
118 field OptimizerConfig.optimizer_type
118 enum OptimizerConfig.optimizer_type AdamW
118 enum OptimizerConfig.optimizer_type SGD
119 field OptimizerConfig.learning_rate
120 field OptimizerConfig.weight_decay
121 field OptimizerConfig.beta1
122 field OptimizerConfig.beta2
123 field OptimizerConfig.eps
129 range OptimizerConfig.learning_rate
130 range OptimizerConfig.weight_decay
131 range OptimizerConfig betas
132 range OptimizerConfig.eps
134 entity EvaluationResult
139 field EvaluationResult.model_checkpoint
140 field EvaluationResult.benchmark_scores
141 field EvaluationResult.evaluation_date
142 field EvaluationResult.metrics
143 field EvaluationResult.config
150 range EvaluationResult.benchmark_scores
151 rule EvaluationResult evaluation date valid
152 rule EvaluationResult checkpoint exists
154 entity ConversationSession
159 field ConversationSession.session_id
160 field ConversationSession.messages
161 field ConversationSession.context_window
162 field ConversationSession.generation_params
163 field ConversationSession.created_at
164 field ConversationSession.last_activity
171 rule ConversationSession context window at most sequence length
172 rule ConversationSession messages chronological
173 rule ConversationSession session id unique
175 entity Message
180 field Message.role
180 enum Message.role user
180 enum Message.role assistant
180 enum Message.role system
181 field Message.content
182 field Message.timestamp
183 field Message.token_count
189 rule Message content not empty
190 rule Message role valid
191 rule Message token count matches
193 entity GenerationParams
198 field GenerationParams.temperature
199 field GenerationParams.top_k
200 field GenerationParams.top_p
201 field GenerationParams.max_tokens
202 field GenerationParams.seed
209 range GenerationParams.temperature
210 range GenerationParams.top_k
211 range GenerationParams.top_p
212 range GenerationParams.max_tokens
214 entity TrainingDataset
219 field TrainingDataset.sources
220 field TrainingDataset.preprocessing_steps
221 field TrainingDataset.total_tokens
222 field TrainingDataset.shards
223 field TrainingDataset.metadata
230 rule TrainingDataset at least one source
231 rule TrainingDataset shard files exist
232 rule TrainingDataset total tokens is the sum
234 entity DataSource
239 field DataSource.source_type
239 enum DataSource.source_type File
239 enum DataSource.source_type URL
239 enum DataSource.source_type HuggingFace
240 field DataSource.path
241 field DataSource.format
241 enum DataSource.format Text
241 enum DataSource.format JSONL
242 field DataSource.weight
248 rule DataSource path valid
249 range DataSource.weight
250 rule DataSource format supported
278 rule architecture dimensions
279 rule checkpoint integrity
280 rule context limits
281 rule parameter ranges
282 rule data consistency
283 rule file existence
289 transition ModelCheckpoint Validated→Saved
294 transition TrainingSession Initialized→Training
294 transition TrainingSession Training→Saved
294 transition TrainingSession →Completed
296 transition TrainingSession →Interrupted
298 transition TrainingSession Interrupted→Resumed
303 transition InferenceSession Created→Loaded
303 transition InferenceSession Loaded→Ready
303 transition InferenceSession Ready→Processing
303 transition InferenceSession Processing→Streaming
303 transition InferenceSession Streaming→Complete
305 transition InferenceSession →Error
"""

SPEC_002 = """
267 file checkpoint/config.json
268 file checkpoint/generation_config.json
269 file checkpoint/model.safetensors
270 file checkpoint/tokenizer.json
271 file checkpoint/tokenizer_config.json
272 file checkpoint/special_tokens_map.json
273 file checkpoint/trainer_state.json
274 file checkpoint/training_args.bin
281 file lora-adapter/adapter_config.json
282 file lora-adapter/adapter_model.safetensors
283 file lora-adapter/README.md
290 file quantized-model/config.json
291 file quantized-model/generation_config.json
292 file quantized-model/model.safetensors
293 file quantized-model/quant_config.json
294 file quantized-model/tokenizer.json
295 file quantized-model/tokenizer_config.json
306 metric loss
307 metric learning_rate
308 metric epoch
309 metric global_step
310 metric grad_norm
311 metric train_samples_per_second
317 metric eval_loss
318 metric perplexity
319 metric accuracy
346 rule log line is one JSON object
366 field Log.timestamp
367 field Log.level
367 enum Log.level DEBUG
367 enum Log.level INFO
367 enum Log.level WARNING
367 enum Log.level ERROR
367 enum Log.level CRITICAL
368 field Log.logger
369 field Log.message
370 field Log.request_id
371 field Log.trace_id
372 field Log.context
382 rule model_name not empty, valid path
382 error model_name "Model name required"
383 range prompt 100K
383 error prompt "Prompt too long"
384 range max_tokens 1-4096
384 error max_tokens "Invalid max_tokens"
385 range temperature 0-2
385 error temperature "Temperature out of range"
386 range learning_rate
386 error learning_rate "Learning rate must be positive"
387 range batch_size
387 error batch_size "Batch size must be at least 1"
395 rule TrainingConfig.model_name min_length
396 rule TrainingConfig.learning_rate gt
397 range TrainingConfig.num_epochs
399 error TrainingConfig.model_name "Invalid model path"
"""

SPEC_003 = """
20 entity PipelineConfiguration
25 field PipelineConfiguration.corpus_source
26 rule PipelineConfiguration.corpus_source accessible
27 default PipelineConfiguration.corpus_source
28 field PipelineConfiguration.corpus_size_mb
29 range PipelineConfiguration.corpus_size_mb
30 field PipelineConfiguration.tokenizer_vocab_size
31 range PipelineConfiguration.tokenizer_vocab_size 32000
31 rule PipelineConfiguration.tokenizer_vocab_size power
32 default PipelineConfiguration.tokenizer_vocab_size
33 field PipelineConfiguration.tokenizer_model_type
34 enum PipelineConfiguration.tokenizer_model_type unigram
34 enum PipelineConfiguration.tokenizer_model_type bpe
34 enum PipelineConfiguration.tokenizer_model_type char
34 enum PipelineConfiguration.tokenizer_model_type word
35 default PipelineConfiguration.tokenizer_model_type
36 field PipelineConfiguration.model_architecture
37 field PipelineConfiguration.model_architecture.num_layers
38 field PipelineConfiguration.model_architecture.d_model
39 field PipelineConfiguration.model_architecture.num_heads
40 field PipelineConfiguration.model_architecture.dim_feedforward
41 default PipelineConfiguration.model_architecture
42 field PipelineConfiguration.training_hyperparameters
43 field PipelineConfiguration.training_hyperparameters.batch_size
44 field PipelineConfiguration.training_hyperparameters.learning_rate
45 field PipelineConfiguration.training_hyperparameters.num_epochs
46 field PipelineConfiguration.training_hyperparameters.max_sequence_length
47 default PipelineConfiguration.training_hyperparameters
48 field PipelineConfiguration.output_directory
49 rule PipelineConfiguration.output_directory writable
50 default PipelineConfiguration.output_directory
51 field PipelineConfiguration.resume_from_checkpoint
52 default PipelineConfiguration.resume_from_checkpoint
53 field PipelineConfiguration.skip_phases
54 enum PipelineConfiguration.skip_phases corpus_download
54 enum PipelineConfiguration.skip_phases tokenizer_training
55 default PipelineConfiguration.skip_phases
62 rule PipelineConfiguration batch and length within memory
63 rule PipelineConfiguration num_heads divides d_model
64 rule PipelineConfiguration learning rate against batch size
68 entity PipelineStatus
73 field PipelineStatus.pipeline_id
74 field PipelineStatus.start_time
75 field PipelineStatus.current_phase
76 enum PipelineStatus.current_phase prerequisite_check
76 enum PipelineStatus.current_phase corpus_download
76 enum PipelineStatus.current_phase tokenizer_training
76 enum PipelineStatus.current_phase model_training
76 enum PipelineStatus.current_phase validation
76 enum PipelineStatus.current_phase complete
76 enum PipelineStatus.current_phase failed
77 rule PipelineStatus.current_phase in order
78 field PipelineStatus.completed_phases
79 field PipelineStatus.phase_timings
80 field PipelineStatus.artifacts_created
82 field PipelineStatus.error_details
83 field PipelineStatus.error_details.failed_phase
84 field PipelineStatus.error_details.error_type
84 enum PipelineStatus.error_details.error_type disk_space
84 enum PipelineStatus.error_details.error_type network
84 enum PipelineStatus.error_details.error_type oom
84 enum PipelineStatus.error_details.error_type validation_failure
85 field PipelineStatus.error_details.error_message
86 field PipelineStatus.error_details.stderr_output
87 field PipelineStatus.validation_results
88 field PipelineStatus.validation_results.sample_generations
89 field PipelineStatus.validation_results.final_train_loss
90 field PipelineStatus.validation_results.final_val_loss
91 field PipelineStatus.validation_results.inference_metrics
92 metric inference_metrics.latency_p95_ms
93 metric inference_metrics.tokens_per_sec
94 metric inference_metrics.rss_mb
95 metric inference_metrics.peak_mb
96 field PipelineStatus.validation_results.constitutional_compliance
104 transition PipelineStatus prerequisite_check→corpus_download
104 transition PipelineStatus prerequisite_check→failed
105 transition PipelineStatus corpus_download→tokenizer_training
105 transition PipelineStatus corpus_download→failed
106 transition PipelineStatus tokenizer_training→model_training
106 transition PipelineStatus tokenizer_training→failed
107 transition PipelineStatus model_training→validation
107 transition PipelineStatus model_training→failed
108 transition PipelineStatus validation→complete
108 transition PipelineStatus validation→failed
113 entity TrainingMetrics
118 field TrainingMetrics.run_id
119 field TrainingMetrics.epoch_history
120 entity EpochMetrics
121 field EpochMetrics.epoch_number
122 field EpochMetrics.train_loss
123 field EpochMetrics.validation_loss
124 field EpochMetrics.learning_rate
125 field EpochMetrics.elapsed_seconds
126 field EpochMetrics.sample_outputs
127 field EpochMetrics.gradient_norm
128 field TrainingMetrics.final_metrics
129 field TrainingMetrics.final_metrics.total_training_time
130 field TrainingMetrics.final_metrics.best_epoch
131 field TrainingMetrics.final_metrics.convergence_achieved
132 field TrainingMetrics.final_metrics.overfitting_detected
139 file training_metrics.json
140 rule TrainingMetrics is JSON
144 entity TrainingCheckpoint
149 field TrainingCheckpoint.epoch
150 field TrainingCheckpoint.model_state
153 field TrainingCheckpoint.optimizer_state
154 field TrainingCheckpoint.training_config
155 field TrainingCheckpoint.loss_history
156 field TrainingCheckpoint.loss_history.train_losses
157 field TrainingCheckpoint.loss_history.val_losses
158 field TrainingCheckpoint.checkpoint_path
159 file checkpoint_epoch_N
166 rule resume vocabulary matches
167 rule resume architecture matches
168 rule resume accepts other hyperparameters
172 entity TrainingDocumentation
177 field TrainingDocumentation.sections
179 field DocumentSection.section_id
180 field DocumentSection.title
181 field DocumentSection.content
182 field DocumentSection.diagrams
183 field DocumentSection.code_examples
184 field DocumentSection.prerequisites
185 field TrainingDocumentation.cross_references
186 field TrainingDocumentation.glossary
187 field TrainingDocumentation.troubleshooting_guide
189 field TroubleshootingEntry.symptom
190 field TroubleshootingEntry.possible_causes
191 field TroubleshootingEntry.solutions
192 field TroubleshootingEntry.related_sections
200 rule TrainingDocumentation 1500-2500 lines
201 rule TrainingDocumentation readable
202 rule TrainingDocumentation covers all phases
203 rule TrainingDocumentation runnable examples
297 rule disk space formula
298 rule disk space example
302 rule inference memory budget
305 rule training time under 10 minutes
306 rule time scales linearly
309 rule validation loss below 5.0
310 rule coherent text
311 rule bilingual samples
314 rule TrainingDocumentation 10 sections
315 rule TrainingDocumentation 10 diagrams
316 rule TrainingDocumentation 10 examples
317 rule troubleshooting covers common issues
324 rule version MAJOR on vocabulary
325 rule version MINOR on architecture
326 rule version PATCH on weights
329 rule new configuration keys have defaults
330 rule renamed configuration keys migrate
331 rule removed configuration keys in changelog
338 rule artefacts not empty
339 rule checkpoints loadable
340 rule metrics parseable
343 rule phases complete in order
344 rule model generates text
345 rule inference metrics within budget
348 rule full disk fails at prerequisite check
349 rule network retried 3 times
350 rule oom names a batch size
"""


@dataclass(frozen=True)
class Item:
    """One thing that a spec asks for."""

    document: str
    line: int
    kind: str
    name: str

    @property
    def id(self) -> str:
        """How an entry names it: "001 ModelConfig.dropout", and of the same field "001 ModelConfig.dropout range"."""
        return f"{self.document} {self.name}" + (f" {self.kind}" if self.kind in ("range", "default") else "")

    @property
    def word(self) -> str:
        """What tells it from other items on its line: the last word, without the state it starts from."""
        return self.name.replace('"', "").split(" ")[-1].split(".")[-1].split("→")[-1].lower()


def _items(document: str, table: str) -> Iterator[Item]:
    for row in table.strip().splitlines():
        line, kind, name = row.split(" ", 2)
        yield Item(document, int(line), kind, name)


REQUIRED: tuple[Item, ...] = tuple(
    item
    for number, table in (("001", SPEC_001), ("002", SPEC_002), ("003", SPEC_003))
    for item in _items(number, table)
)
