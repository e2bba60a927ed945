package tfdvae

import android.content.Context
import android.util.Log
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.TensorBuffer
import java.io.File
import java.util.Random
import java.util.zip.ZipFile
import kotlin.math.abs
import org.json.JSONArray
import org.json.JSONObject

/**
 * A .tflite file of tfdvae on Android: a place in a sequence, which frames that come in, or are drawn, move on.
 *
 *     val stream = Stream.fromAsset(context, "sensor.tflite")
 *     stream.known.checkFeatures(listOf("flow", "pressure"))  // IllegalArgumentException for others, or another order
 *     val score = stream.push(floatArrayOf(0.1f, 0.2f)).getValue("score")[0]  // nats; low values are anomalies
 *     val future = List(20) { stream.generate() }  // drawn, each given all before it
 *
 * What `export/edge/stream.py` is in Python, by the CompiledModel API of LiteRT 2.x. One sequence, and the functions of
 * fixed shapes: `reset`, `step` and `generate_step`. Any error leaves the stream where it was. Threads may share it.
 *
 * @param file written by `model.export(path, format="litert")`.
 * @param seed of all that is drawn.
 * @param sample whether latents of pushed frames are drawn instead of following the middle of their posteriors.
 * @param ofSequence what `reset` takes beside noise: "context", where the model has one, or first frames "given".
 * @param warn is told, once, of frames far outside of the training data.
 * @throws IllegalArgumentException for a file that is none, of another version, or cannot stream.
 */
class Stream(
    file: File,
    seed: Long = 0,
    private val sample: Boolean = false,
    private val ofSequence: Map<String, FloatArray> = emptyMap(),
    private val warn: (String) -> Unit = { Log.w("tfdvae", it) },
) : AutoCloseable {
    /** All that the file says of itself, as JSON. */
    val description: JSONObject = describe(file)

    /** What it says of the training data. */
    val known = Known(description)

    private class Port(val name: String, val dtype: String, val size: Int, val random: String, val buffer: TensorBuffer)

    private class Function(val inputs: List<Port>, val outputs: List<Port>)

    private val random = Random(seed)
    private val watch = Watch(description, known)
    private val compiled = CompiledModel.create(file.path)
    private val functions = HashMap<String, Function>()
    private var state: Map<String, Any> = emptyMap()

    init {
        try {
            val described = description.getJSONObject("signatures")
            for (name in listOf("reset", "step", "generate_step").filter { described.has(it) }) {
                val one = described.getJSONObject(name)
                val inputs = ports(one.getJSONArray("inputs")) { compiled.createInputBuffer(it, name) }
                val outputs = ports(one.getJSONArray("outputs")) { compiled.createOutputBuffer(it, name) }
                functions[name] = Function(inputs, outputs)
            }
            reset()
        } catch (error: Exception) {
            close()
            throw error
        }
    }

    /** Goes back to before the first frame. Latents that exist once per sequence are drawn anew. */
    @Synchronized
    fun reset() {
        ask("reset", ofSequence, emptyMap(), false)
    }

    /**
     * Takes in the next frame, and returns the outputs of `step` by name: "score", "log_px" and "kl" in nats, each latent
     * with its mean and scale, "next_mean" and "next_stddev" of the next frame, ...
     *
     * @param x the frame, its features in a row.
     * @param u inputs of this frame, and [nextU] of the next one, where the model is driven; without [nextU] the
     *     prediction is that for inputs of zero.
     * @param observed where x holds data, for a model of partly observed frames; elsewhere it may hold any number.
     */
    @Synchronized
    fun push(
        x: FloatArray,
        u: FloatArray? = null,
        nextU: FloatArray? = null,
        observed: BooleanArray? = null,
    ): Map<String, FloatArray> {
        val given = HashMap<String, Any>()
        given["x"] = x
        if (u != null) given["u"] = u
        if (u != null) given["next_u"] = nextU ?: FloatArray(u.size)
        if (observed != null) given["observed"] = observed
        val whole = observed == null || observed.all { it }
        return ask("step", given, state, !sample).also { if (whole) watch.look(x)?.let(warn) }
    }

    /** Draws the next frame, and goes on from there. */
    @Synchronized
    fun generate(u: FloatArray? = null): FloatArray =
        ask("generate_step", if (u == null) emptyMap() else mapOf("u" to u), state, false).getValue("x")

    /** All that the stream knows of its past, random numbers aside; `restore` goes back there. */
    @Synchronized fun state(): Map<String, Any> = state

    @Synchronized
    fun restore(place: Map<String, Any>) {
        require(place.keys == state.keys) { "A state of this stream has ${state.keys}, got ${place.keys}." }
        state = place
    }

    @Synchronized
    override fun close() {
        for (one in functions.values) (one.inputs + one.outputs).forEach { it.buffer.close() }
        functions.clear()
        compiled.close()
    }

    private fun ports(fields: JSONArray, buffer: (String) -> TensorBuffer): List<Port> =
        (0 until fields.length()).map { i ->
            val field = fields.getJSONObject(i)
            val shape = field.getJSONArray("shape")
            val sizes = (0 until shape.length()).map { shape.getInt(it) }
            val name = field.getString("name")
            require(sizes.all { it >= 0 }) { "'$name' is of any size: export the file with --time." }
            val size = sizes.fold(1, Int::times)
            Port(name, field.getString("dtype"), size, field.optString("random", ""), buffer(name))
        }

    /** Calls a function, keeps the state that it returns, and returns its other outputs. */
    private fun ask(name: String, given: Map<String, Any>, from: Map<String, Any>, middle: Boolean): Map<String, FloatArray> {
        val function = requireNotNull(functions[name]) { "The file has no '$name', or the stream was closed." }
        val unknown = given.keys - function.inputs.map { it.name }.toSet()
        require(unknown.isEmpty()) { "'$name' takes no $unknown." }
        for (port in function.inputs) write(name, port, given[port.name] ?: from[port.name] ?: default(name, port, middle))
        compiled.run(function.inputs.associate { it.name to it.buffer }, function.outputs.associate { it.name to it.buffer }, name)
        val found = function.outputs.associate { it.name to read(it) }
        val (after, outputs) = found.entries.partition { it.key.startsWith("state_") }
        for ((key, value) in after + outputs.filter { it.key == "score" || it.key == "x" }) {
            require(value !is FloatArray || value.all { it.isFinite() }) {
                "'$name' gave '$key' that is not finite: the frame lies outside of what the model allows."
            }
        }
        state = after.associate { it.key to it.value }
        return outputs.filter { it.value is FloatArray }.associate { it.key to it.value as FloatArray }
    }

    /** What an input holds that nobody gave: noise, or the middle of what it is drawn from. */
    private fun default(name: String, port: Port, middle: Boolean): Any {
        if (port.name == "observed" || port.name == "given_observed") return BooleanArray(port.size) { true }
        require(port.random.isNotEmpty()) { "'$name' needs the input '${port.name}'." }
        val normal = port.random == "normal"
        return FloatArray(port.size) {
            when {
                middle -> if (normal) 0f else 0.5f
                normal -> random.nextGaussian().toFloat()
                else -> (random.nextInt(1 shl 23) + 0.5f) / (1 shl 23) // strictly inside of (0, 1), and exact
            }
        }
    }

    private fun write(name: String, port: Port, value: Any) {
        val size = when (value) {
            is FloatArray -> value.size
            is IntArray -> value.size
            is BooleanArray -> value.size
            else -> -1
        }
        val fits = when (port.dtype) {
            "float32" -> value is FloatArray
            "int32" -> value is IntArray
            else -> value is BooleanArray
        }
        require(fits && size == port.size) { "'$name' takes ${port.size} of ${port.dtype} as '${port.name}', got $size." }
        when (value) {
            is FloatArray -> {
                require(value.all { it.isFinite() }) { "'${port.name}' holds NaN or infinity." }
                port.buffer.writeFloat(value)
            }
            is IntArray -> port.buffer.writeInt(value)
            is BooleanArray -> port.buffer.writeBoolean(value)
        }
    }

    private fun read(port: Port): Any = when (port.dtype) {
        "float32" -> port.buffer.readFloat()
        "int32" -> port.buffer.readInt()
        else -> port.buffer.readBoolean()
    }

    companion object {
        private const val FORMAT = "tfdvae.signatures"
        private const val VERSION = 2

        /** A file among the assets of an app, copied to its files first, since the description stands behind the model. */
        fun fromAsset(context: Context, name: String, seed: Long = 0): Stream {
            val file = File(context.filesDir, name)
            context.assets.open(name).use { from -> file.outputStream().use { from.copyTo(it) } }
            return Stream(file, seed)
        }

        /** `signatures.json`, from the zip archive behind the model. */
        private fun describe(file: File): JSONObject {
            val text = try {
                ZipFile(file).use { zip -> zip.getInputStream(zip.getEntry("signatures.json")).readBytes().decodeToString() }
            } catch (error: Exception) {
                throw IllegalArgumentException("$file is no file that tfdvae exported to LiteRT, or is damaged.", error)
            }
            val found = JSONObject(text)
            require(found.getString("format") == FORMAT && found.getInt("version") == VERSION) {
                "$file was written as ${found.getString("format")} version ${found.getInt("version")}, this class reads " +
                    "$FORMAT version $VERSION: export the model again, or take the class that came with that version."
            }
            require(found.optInt("batch", 1) == 1) { "$file takes several sequences at once: export one with 1." }
            require(found.getJSONObject("signatures").has("reset")) { "$file cannot stream: it has no 'reset'." }
            return found
        }
    }
}

/** What a file says of its training data; what is empty or null is not known. */
class Known(description: JSONObject) {
    private val data = description.optJSONObject("data") ?: JSONObject("{}")
    val features = texts("features")
    val units = texts("units")
    val inputs = texts("inputs")
    val timeUnit: String = data.optString("time_unit", "s")
    val framePeriod = number("frame_period")
    val samplingRate = number("sampling_rate")
    private val shift = numbers(data, "shift")
    private val scale = numbers(data, "scale")

    /** @throws IllegalArgumentException for other columns than the features of the model, or another order. */
    fun checkFeatures(found: List<String>) {
        require(features.isEmpty() || found == features) { "The features are $found, and those of the model $features." }
    }

    /** @throws IllegalArgumentException for frames that come in another period, in [timeUnit]. */
    fun checkPeriod(found: Double) = check("period", found, framePeriod)

    /** @throws IllegalArgumentException for frames that are cut from a signal of another rate. */
    fun checkRate(found: Double) = check("sampling rate", found, samplingRate)

    /** (x - shift) / scale, as the frames of training were made; x itself where nothing is known. */
    fun scaled(x: FloatArray) = FloatArray(x.size) { i ->
        val shifted = if (shift.isEmpty()) x[i] else x[i] - shift[i % shift.size]
        if (scale.isEmpty()) shifted else shifted / scale[i % scale.size]
    }

    private fun check(what: String, found: Double, there: Double?) {
        require(there == null || abs(found / there - 1.0) <= 0.01) {
            "The $what of the frames is $found, and $there in training: resample them."
        }
    }

    private fun texts(name: String): List<String> {
        val found = data.optJSONArray(name) ?: return emptyList()
        return (0 until found.length()).map { found.getString(it) }
    }

    private fun number(name: String): Double? = data.optDouble(name).takeUnless { it.isNaN() }
}

/** Says, once, that a frame can hardly be in the units of the training data: it is further outside than these are wide. */
private class Watch(description: JSONObject, private val known: Known) {
    private val statistics = description.optJSONObject("statistics")
    private val low = statistics?.let { numbers(it, "low") } ?: FloatArray(0)
    private val high = statistics?.let { numbers(it, "high") } ?: FloatArray(0)
    private var warned = low.isEmpty() || high.isEmpty()

    fun look(x: FloatArray): String? {
        val i = if (warned) -1 else x.indices.indexOfFirst { outside(x[it], low[it % low.size], high[it % high.size]) }
        if (i < 0) return null
        warned = true
        val name = known.features.getOrElse(i) { "feature $i" }
        return "$name is ${x[i]}, and was between ${low[i % low.size]} and ${high[i % high.size]} in training: are frames " +
            "in the units, the order and the scale of the training data? Scores and forecasts of others mean nothing."
    }

    private fun outside(x: Float, low: Float, high: Float) = high > low && (x < 2 * low - high || x > 2 * high - low)
}

/** A list of numbers, of any depth, in a row. */
private fun numbers(from: JSONObject, name: String): FloatArray {
    val found = ArrayList<Float>()
    fun add(one: Any?) {
        when (one) {
            is JSONArray -> for (i in 0 until one.length()) add(one.get(i))
            is Number -> found.add(one.toFloat())
        }
    }
    add(from.opt(name))
    return found.toFloatArray()
}
