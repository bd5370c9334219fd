"""The commonest small words and the telling letters of languages (data).

Lives here: `WORDS` and `LETTERS`, by ISO 639-1 code, and `SCRIPTS`, which blocks of Unicode belong to whom.
Comes in: nothing. Goes out: tables for `language.py`.
Must never know: how they are weighed.

Written from grammar, not taken from a corpus: articles, pronouns, prepositions, conjunctions, auxiliaries.
"""
# ruff: noqa: E501, RUF001 - one language a line, and its letters are meant

from __future__ import annotations

WORDS: dict[str, str] = {
    "en": "the of and to in a is that for it with as was on be are this by from at which or an not have has you i if can what how my your do does we they will would there when all me please any some so but his her its their were been than then into about should could who where why",
    "de": "der die das und ist in den von zu mit sich auf für nicht ein eine einen einem einer im dem des es ich du wir sie er auch als an wird werden bei oder wie was wenn aus nach am dass kann bitte mein meine mir mich sind war hat haben noch nur über zum zur so aber um alle ins vom",
    "fr": "le la les de des du et est un une dans en que qui pour pas sur au aux ce cette ces il elle je tu nous vous ils se ne par plus avec sont ou mais son sa ses mon ma mes votre comme être sans y a été fait tout tous moi quel quelle si dont leur",
    "es": "el la los las de del y en que es un una por con no para se su sus al lo como más pero este esta esto ha han son está están o si mi mis me te nos yo tú muy sin sobre también cuando hay todo todas todos qué cuál cómo ser fue entre",
    "pt": "o a os as de do da dos das e em no na nos nas que é um uma por com não para se seu sua ao à como mais mas este esta isso foi são está ou meu minha me você eu muito sem sobre também quando há todo todas todos qual ser pelo pela entre",
    "it": "il lo la i gli le di del della dei delle e è in nel nella che un una uno per con non si su al alla da dal come più ma questo questa sono ha hanno o se mio mia mi ti ci io tu molto senza anche quando c'è tutto tutte tutti quale essere ed sul sulla",
    "nl": "de het een en van in is dat op te met voor niet zijn er aan die deze dit of als ik je jij wij we ze hij ook bij naar om door over uit wordt worden kan maar nog dan mijn uw was heeft hebben wat hoe alle geen zo moet tot",
    "sv": "och i att det som en ett på är av för med till den de inte om har jag du vi han hon kan från men så vad hur eller mig min mitt dig alla när var också ska efter vid detta denna någon där över under",
    "da": "og i at det som en et på er af for med til den de ikke om har jeg du vi han hun kan fra men så hvad hvor eller mig min mit dig alle når var også skal efter ved dette denne noget der over under bliver blev",
    "nb": "og i å det som en et på er av for med til den de ikke om har jeg du vi han hun kan fra men så hva hvor eller meg min mitt deg alle når var også skal etter ved dette denne noe der over under blir ble mot",
    "is": "og í að það sem er á við til um ekki ég þú hann hún við þeir fyrir með af en eða frá hvað hver allt þetta þessi eru var ef svo minn mín hafa hefur verið eftir",
    "fi": "ja on ei se että hän minä sinä me he oli ovat kuin mutta tai jos niin myös mikä mitä missä kun joka jotka tämä kaikki ole olla sen minun voi pitää päälle pois kanssa vain nyt",
    "et": "ja on ei see et ta ma sa me nad oli kui aga või siis ka mis kes kus kõik olla selle minu mida välja sisse palun kas nii oma ning ei üle",
    "hu": "a az és hogy nem is egy ez van volt meg de ha mint csak már el mi ki fel le még vagy minden kell lesz én te mit hol azt ezt be nagyon után között",
    "pl": "i w na z do nie się że jest to o jak po co tak za od ale czy dla przez przy są był była ten ta te tego jego ja ty my mi mnie już tylko lub oraz może wszystkie jaki jaka gdzie kiedy we",
    "cs": "a v na se z do je že to o s jak po co tak za od ale pro při jsou byl byla ten ta ty jeho já my mi mě už jen nebo může všechny jaký jaká kde když ve si i by který není",
    "sk": "a v na sa z do je že to o s ako po čo tak za od ale pre pri sú bol bola ten tá tie jeho ja my mi ma už len alebo môže všetky aký aká kde keď vo si aj by ktorý nie",
    "sl": "in v na se z do je da to o s kot po kaj tako za od ali pa pri so bil bila ta ti njegov jaz mi me že le ker lahko vse kakšen kje ko si tudi bi ki ni sem",
    "hr": "i u na se s do je da to o kao po što tako za od ali pri su bio bila taj ta te njegov ja mi me već samo ili može sve kakav gdje kada si bi koji nije sam li ne sa",
    "ro": "și în de la cu pe nu este un o care să mai din se că pentru sunt a al ale ai dar sau ca prin fi fost eu tu noi îmi mă ce cum unde când toate toți lui ei această acest între",
    "tr": "ve bir bu da de için ile ne çok daha gibi ben sen o biz mi mı mu var yok olarak olan değil ama her en kadar sonra nasıl nerede tüm bana lütfen şu ya veya",
    "ca": "el la els les de del i en que és un una per amb no es seu seva al com més però aquest aquesta ha han són està o si meu meva em et ens jo tu molt sense sobre també quan hi tot totes tots quin ser als dels",
    "gl": "o a os as de do da dos das e en no na que é un unha por con non para se seu súa ao á como máis pero este esta foi son está ou meu miña me eu moito sen sobre tamén cando hai todo todas todos cal ser polo pola",
    "eu": "eta da ez bat du dira ere hau hori dago zen baina egin behar nire zure gure zer non noiz den dut izan guztiak mesedez oso edo",
    "lt": "ir yra į iš su kad ne tai kaip bet ar o buvo aš tu mes jis ji mano kas kur kada visi visas per po nuo iki už ant dėl taip pat jei būti",
    "lv": "un ir no ar ka ne tas kā bet vai bija es tu mēs viņš viņa mans kas kur kad visi visas par pēc līdz uz pie tā arī ja būt",
    "id": "yang dan di ke dari untuk dengan ini itu tidak adalah pada dalam akan saya anda kami kita mereka ada bisa atau juga karena sudah telah oleh apa bagaimana semua tolong lebih",
    "vi": "và của là không có trong cho được một các những này với đã để người khi từ thì mà ở tôi bạn cái đó nào gì như nếu tất cả hãy",
    "sw": "na ya wa kwa ni katika za la cha hii hiyo kuwa si kama lakini au yangu wote yako nini wapi je hapa sasa",
    "cy": "y yr a yn i o mae ar ac ei am gan oedd nid fod wedi gyda beth ble fy dy eu neu ond hefyd sydd",
    "af": "die en van in is dat op te met vir nie het aan wat as ek jy ons hulle hy ook by na om deur oor uit word kan maar nog dan my was hoe alle geen so moet",
    "ru": "и в не на что с по как это для от к у из за о но же бы ты я он она мы вы они его её был была было или если так все всё мне мой при когда где какой какая до только есть нет хотя ли ещё уже можно сейчас очень чтобы",
    "uk": "і в не на що з як це для від до у із за про але ж би ти я він вона ми ви вони його її був була було або якщо так все всі мені мій при коли де який яка та є ще вже можна зараз дуже щоб немає",
    "bg": "и в не на че с по как това за от към у из но же би ти аз той тя ние вие те го бил била беше или ако така всички ми моят при кога къде кой до само е са да се ще",
    "sr": "и у не на што са по као то за од до из али би ти ја он она ми ви они га био била или ако тако све мој при када где који само је су да се ли",
    "mn": "ба нь юм энэ тэр байна бол би та бид хэн юу хаана хэзээ болон гэж байсан дээр доор миний бүх",
    "ar": "في من على إلى أن هذا هذه التي الذي ما لا هو هي مع عن كان أو كل قد لم ثم بعد أنا أنت كيف أين هل إذا كما",
    "fa": "و در به از که این را با است برای آن یک خود تا کرد بر هم شد من تو ما شما چه کجا همه یا اگر های می",
    "ur": "اور میں کے کی ہے کا سے کو پر یہ نے ہیں کہ وہ اس بھی ایک تو ہم آپ کیا کہاں تمام یا اگر کر",
    "hi": "और में के की है का से को पर यह ने हैं कि वह इस भी एक तो हम आप क्या कहाँ सभी या अगर कर मैं",
    "ne": "र मा को का छ यो त्यो हो गर्न पनि एक म हामी तपाईं के कहाँ सबै वा गर्नुहोस् लाई बाट",
}
"""Words as they stand in running text, lower case."""

LETTERS: dict[str, str] = {
    "de": "ßäöü", "fr": "çèêàùœ", "es": "ñ¿¡áíó", "pt": "ãõçâ", "it": "èàòìù", "sv": "åäö", "da": "æøå", "nb": "æøå",
    "is": "ðþæý", "fi": "äö", "et": "õäüö", "hu": "őűéá", "pl": "łąęśżźćń", "cs": "řěůčšž", "sk": "ľĺŕôčšžť",
    "sl": "čšž", "hr": "čćđšž", "ro": "șțăîâşţ", "tr": "ğışçöü", "ca": "çàèòŀ·", "gl": "ñáí", "lt": "ėųįūąčęšž",
    "lv": "āēīūķļņģšž", "vi": "ăâđêôơưạảấầẩẫậắằẵặẹẻẽếềểễệịọốồổộớờởợụủứừửữự", "cy": "ŵŷ", "ru": "ыэёъ", "uk": "іїєґ",
    "bg": "ъщ", "sr": "ђћљњјџ", "mn": "өүэ", "fa": "پچژگیک", "ur": "ٹڈڑںےھہ", "ar": "ةىأإي",
}  # fmt: skip
"""Letters that speak for a language among those of its script."""

SCRIPTS: dict[str, tuple[int, int]] = {
    "el": (0x370, 0x3FF), "cyrillic": (0x400, 0x52F), "hy": (0x530, 0x58F), "he": (0x590, 0x5FF),
    "arabic": (0x600, 0x77F), "devanagari": (0x900, 0x97F), "bn": (0x980, 0x9FF), "pa": (0xA00, 0xA7F),
    "gu": (0xA80, 0xAFF), "ta": (0xB80, 0xBFF), "te": (0xC00, 0xC7F), "kn": (0xC80, 0xCFF), "ml": (0xD00, 0xD7F),
    "si": (0xD80, 0xDFF), "th": (0xE00, 0xE7F), "lo": (0xE80, 0xEFF), "my": (0x1000, 0x109F), "ka": (0x10A0, 0x10FF),
    "am": (0x1200, 0x137F), "km": (0x1780, 0x17FF), "ja": (0x3040, 0x30FF), "zh": (0x3400, 0x9FFF),
    "ko": (0xAC00, 0xD7AF),
}  # fmt: skip
"""A script used by one language here bears that language's code; the others have a name and are told by words."""
