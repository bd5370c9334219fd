{{/* Values that contradict each other, each refused in a sentence that names both. What one value may be: values.schema.json. */}}
{{- define "trimtab.check" -}}
{{- $v := .Values -}}

{{- $of := dict "home" "storage" "champion" "model.champion" "http.host" "networkPolicy" "http.port" "service.port"
      "role" "controller.enabled" "store.url" "database.existingSecret" "store.pod" "replicas" "objects" "objects.url" -}}
{{- if ne $v.mode "observe" -}}
{{- $of = merge $of (dict "engine.url" "mode" "engine.max_lora_rank" "engine.maxLoraRank") -}}
{{- end -}}
{{- if ne $v.retraining.where "none" -}}
{{- $of = merge $of (dict "retrain.launcher" "retraining.where" "retrain.kubernetes.image" "retraining.image"
      "retrain.kubernetes.resources" "retraining.resources" "retrain.kubernetes.queue" "retraining.queue"
      "retrain.kubernetes.claims" "model.existingClaim" "retrain.kubernetes.secrets" "secrets.existingSecret"
      "retrain.engine_url" "retraining.where" "retrain.kubernetes.service_account" "serviceAccount" "retrain.kubernetes.namespace" "retraining.where") -}}
{{- end -}}
{{- range $key, $instead := $of -}}
{{- $section := $v.agent.settings -}}
{{- $parts := splitList "." $key -}}
{{- range initial $parts -}}{{- $section = get $section . | default dict -}}{{- end -}}
{{- if hasKey $section (last $parts) -}}
{{- fail (printf "agent.settings.%s and %s speak of the same thing: leave agent.settings.%s out, the chart sets it" $key $instead $key) -}}
{{- end -}}
{{- end -}}

{{- if eq $v.mode "serve" -}}
{{- if not $v.model.existingClaim -}}
{{- fail "mode is serve but model.existingClaim is empty: name the claim that holds the base model and the adapter" -}}
{{- end -}}
{{- if $v.attach.deployment -}}
{{- fail (printf "mode is serve but attach.deployment is %q: set mode to attach, or leave attach.deployment out" $v.attach.deployment) -}}
{{- end -}}
{{- else -}}
{{- if $v.autoscaling.enabled -}}
{{- fail (printf "autoscaling.enabled is true but mode is %s: it scales the chart's own vLLM, so set mode to serve or scale yours yourself" $v.mode) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.mode "attach") (not $v.attach.deployment) -}}
{{- fail "mode is attach but attach.deployment is empty: name your vLLM Deployment" -}}
{{- end -}}
{{- if and (eq $v.mode "attach") (eq $v.database.kind "sqlite") -}}
{{- $theirs := lookup "apps/v1" "Deployment" .Release.Namespace $v.attach.deployment -}}
{{- if gt (int (dig "spec" "replicas" 1 ($theirs | default dict))) 1 -}}
{{- fail (printf "attach.deployment %s has several replicas but database.kind is sqlite, a file that one pod alone may write: set database.kind to postgresql" $v.attach.deployment) -}}
{{- end -}}
{{- end -}}

{{- if and (eq (int $v.engine.gpus) 0) (eq $v.engine.image.repository "vllm/vllm-openai") (eq $v.mode "serve") -}}
{{- fail "engine.gpus is 0 but engine.image.repository is vllm/vllm-openai, which is built for GPUs: name a build of vLLM for CPUs" -}}
{{- end -}}
{{- range $kind := list "limits" "requests" -}}
{{- if hasKey (get $v.engine.resources $kind | default dict) $v.engine.gpuResource -}}
{{- fail (printf "engine.resources.%s names %s, and so does engine.gpus: write the number as engine.gpus alone" $kind $v.engine.gpuResource) -}}
{{- end -}}
{{- end -}}
{{- $flags := dict "--model" "model.path" "--served-model-name" "agent.settings.engine.base_model" "--host" "networkPolicy" "--port" "service.port"
      "--middleware" "mode" "--api-key" "secrets.existingSecret" "--enable-lora" "mode" "--max-loras" "engine.maxLoras" "--max-cpu-loras" "engine.maxLoras"
      "--max-lora-rank" "engine.maxLoraRank" "--lora-target-modules" "engine.loraModules" "--max-model-len" "engine.maxModelLen"
      "--max-num-seqs" "engine.maxNumSeqs" "--tensor-parallel-size" "engine.gpus" "-tp" "engine.gpus" -}}
{{- range $argument := $v.engine.extraArgs -}}
{{- $flag := first (splitList "=" $argument) | replace "_" "-" -}}
{{- if or (eq $flag "--api-server-count") (eq $flag "-asc") -}}
{{- fail "engine.extraArgs has --api-server-count, and mode needs adapters loaded at run time, which vLLM does with one API process only: raise replicas instead" -}}
{{- end -}}
{{- if hasKey $flags $flag -}}
{{- fail (printf "engine.extraArgs has %s, which %s says already: leave it out of engine.extraArgs" $flag (get $flags $flag)) -}}
{{- end -}}
{{- end -}}
{{- range $v.engine.extraEnv -}}
{{- if or (hasPrefix "TRIMTAB_" .name) (has .name (list "PYTHONPATH" "VLLM_ALLOW_RUNTIME_LORA_UPDATING" "VLLM_USE_RUST_FRONTEND" "VLLM_API_KEY")) -}}
{{- fail (printf "engine.extraEnv sets %s, on which mode %s depends: leave it out of engine.extraEnv" .name $v.mode) -}}
{{- end -}}
{{- end -}}

{{- $labels := merge (dict "app.kubernetes.io/component" "" ) (include "trimtab.labels" . | fromYaml) (include "trimtab.sidecarLabel" . | fromYaml) -}}
{{- range $label, $_ := $v.podLabels -}}
{{- if hasKey $labels $label -}}
{{- fail (printf "podLabels sets %s, by which mode %s finds its pods: leave it out of podLabels" $label $v.mode) -}}
{{- end -}}
{{- end -}}

{{- if and $v.secrets.existingSecret $v.secrets.notifyUrls -}}
{{- fail "secrets.existingSecret and secrets.notifyUrls are both set: put the addresses into your Secret, under the key TRIMTAB_NOTIFY_URLS" -}}
{{- end -}}

{{- if and (eq $v.database.kind "postgresql") (not $v.database.existingSecret) -}}
{{- fail "database.kind is postgresql but database.existingSecret is empty: name the Secret that holds the database's address" -}}
{{- end -}}
{{- if and (eq $v.database.kind "sqlite") $v.database.existingSecret -}}
{{- fail (printf "database.existingSecret is %q but database.kind is sqlite: set database.kind to postgresql, or leave the Secret out" $v.database.existingSecret) -}}
{{- end -}}
{{- $many := or (gt (int $v.replicas) 1) (and $v.autoscaling.enabled (gt (int $v.autoscaling.maxReplicas) 1)) -}}
{{- $asks := ternary "autoscaling.enabled is true" (printf "replicas is %d" (int $v.replicas)) $v.autoscaling.enabled -}}
{{- if and $many (eq $v.database.kind "sqlite") -}}
{{- fail (printf "%s but database.kind is sqlite, a file that one pod alone may write: set database.kind to postgresql" $asks) -}}
{{- end -}}
{{- if and (or $many (gt (int $v.maxSurge) 0)) (eq $v.database.kind "postgresql") (include "trimtab.hasClaim" .) (ne $v.storage.accessMode "ReadWriteMany") -}}
{{- $asks := ternary $asks (printf "maxSurge is %d" (int $v.maxSurge)) $many -}}
{{- fail (printf "%s but storage.accessMode is %s, and all pods read the same adapters: use a claim that is ReadWriteMany, or a bucket as objects.url" $asks $v.storage.accessMode) -}}
{{- end -}}
{{- if and (gt (int $v.maxSurge) 0) (eq $v.database.kind "sqlite") -}}
{{- fail (printf "maxSurge is %d but database.kind is sqlite, a file that one pod alone may write: set maxSurge to 0" (int $v.maxSurge)) -}}
{{- end -}}
{{- if and $v.storage.existingClaim $v.storage.className -}}
{{- fail "storage.existingClaim and storage.className are both set: the class is for a claim that the chart makes, so leave one out" -}}
{{- end -}}
{{- if and $v.objects.url (eq $v.database.kind "postgresql") $v.storage.existingClaim -}}
{{- fail "storage.existingClaim and objects.url are both set, and with database.kind postgresql nothing is left for the claim: leave one out" -}}
{{- end -}}
{{- if and (or $v.objects.endpoint $v.objects.region) (not $v.objects.url) -}}
{{- fail "objects.endpoint or objects.region is set but objects.url is empty: name the bucket, or leave them out" -}}
{{- end -}}

{{- if ne $v.retraining.where "none" -}}
{{- if not $v.model.existingClaim -}}
{{- fail (printf "retraining.where is %s but model.existingClaim is empty: name the claim that holds the base model" $v.retraining.where) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.mode "observe") (eq $v.retraining.where "job") -}}
{{- fail "retraining.where is job but mode is observe, where no vLLM serves the adapters that it would make: set retraining.where to none" -}}
{{- end -}}
{{- if eq $v.retraining.where "job" -}}
{{- if eq $v.database.kind "sqlite" -}}
{{- fail "retraining.where is job but database.kind is sqlite, a file that no Job can reach: set database.kind to postgresql, or retraining.where to sidecar" -}}
{{- end -}}
{{- if ne $v.database.key "TRIMTAB_STORE_URL" -}}
{{- fail (printf "retraining.where is job but database.key is %s, and Jobs take a Secret's keys as variables: make a Secret with the key TRIMTAB_STORE_URL" $v.database.key) -}}
{{- end -}}
{{- if and (not $v.objects.url) (ne $v.storage.accessMode "ReadWriteMany") -}}
{{- fail (printf "retraining.where is job but storage.accessMode is %s, and a Job puts its adapter where the pods find it: use a claim that is ReadWriteMany, or a bucket as objects.url" $v.storage.accessMode) -}}
{{- end -}}
{{- if and (eq $v.mode "attach") (not $v.serviceAccount.existing) (not $v.controller.enabled) -}}
{{- fail "retraining.where is job and mode is attach, but serviceAccount.existing is empty: name the service account of your Deployment, which gets the right to start Jobs" -}}
{{- end -}}
{{- end -}}
{{- if $v.controller.enabled -}}
{{- if eq $v.database.kind "sqlite" -}}
{{- fail "controller.enabled is true but database.kind is sqlite, a file that one pod alone may write: set database.kind to postgresql" -}}
{{- end -}}
{{- if and (include "trimtab.hasClaim" .) (ne $v.storage.accessMode "ReadWriteMany") -}}
{{- fail (printf "controller.enabled is true but storage.accessMode is %s, and the controller reads the adapters of the other pods: use a claim that is ReadWriteMany, or a bucket as objects.url" $v.storage.accessMode) -}}
{{- end -}}
{{- if eq $v.retraining.where "sidecar" -}}
{{- fail "controller.enabled is true but retraining.where is sidecar, and orders are the controller's, which has no engine beside it: set retraining.where to job, or controller.enabled to false" -}}
{{- end -}}
{{- else if $v.controller.serviceAccount -}}
{{- fail (printf "controller.serviceAccount is %q but controller.enabled is false: enable the controller, or leave its service account out" $v.controller.serviceAccount) -}}
{{- end -}}
{{- if and $v.serviceAccount.existing $v.serviceAccount.annotations -}}
{{- fail "serviceAccount.existing and serviceAccount.annotations are both set: the annotations are for one that the chart makes, so leave one out" -}}
{{- end -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas is %d but autoscaling.maxReplicas is %d: the least must not exceed the most" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not $v.autoscaling.metrics) (not (dig "requests" "cpu" "" $v.engine.resources)) -}}
{{- fail "autoscaling.enabled is true and autoscaling.metrics is empty, so it goes by CPU, but engine.resources.requests.cpu is not set: set one of the two" -}}
{{- end -}}

{{- $net := $v.networkPolicy -}}
{{- if and $v.serviceMonitor.enabled $net.enabled (not $net.monitoringNamespace) (not $net.agentFrom) -}}
{{- fail "serviceMonitor.enabled is true but networkPolicy.monitoringNamespace is empty, so Prometheus could not reach the sidecar: name its namespace" -}}
{{- end -}}
{{- if and $net.restrictEgress (not $net.enabled) -}}
{{- fail "networkPolicy.restrictEgress is true but networkPolicy.enabled is false: enable the policy, or leave the way out open" -}}
{{- end -}}
{{- if and $net.restrictEgress (not $net.egressTo) -}}
{{- if $v.secrets.notifyUrls -}}
{{- fail "secrets.notifyUrls is set but networkPolicy.restrictEgress is true and networkPolicy.egressTo is empty: allow the way to the receivers" -}}
{{- end -}}
{{- if dig "quality" "judge_url" "" $v.agent.settings -}}
{{- fail "agent.settings.quality.judge_url is set but networkPolicy.restrictEgress is true and networkPolicy.egressTo is empty: allow the way to the judge" -}}
{{- end -}}
{{- if hasPrefix "s3://" $v.objects.url -}}
{{- fail "objects.url is set but networkPolicy.restrictEgress is true and networkPolicy.egressTo is empty: allow the way to the bucket" -}}
{{- end -}}
{{- if eq $v.database.kind "postgresql" -}}
{{- fail "database.kind is postgresql but networkPolicy.restrictEgress is true and networkPolicy.egressTo is empty: allow the way to the database" -}}
{{- end -}}
{{- end -}}
{{- end -}}
